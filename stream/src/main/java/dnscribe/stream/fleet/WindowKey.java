package dnscribe.stream.fleet;

/**
 * A window in time and the group of transactions that it is about.
 *
 * @param startMs its start in milliseconds since 1970
 * @param lengthSeconds its length
 * @param stepSeconds time to the start of the next window; less than the length if windows slide
 * @param grouping {@code node}, {@code process} and {@code pod} of one node's windows, {@code all}
 *     and {@code region} of merged ones, {@code resolver}, {@code zone}, {@code qtype} and {@code
 *     resolver+zone} of both
 * @param vantage {@code client}, {@code server} or {@code passive}
 * @param region value of the grouping {@code region}, else null
 * @param resolver value of the groupings {@code resolver} and {@code resolver+zone}, else null
 * @param zone value of the groupings {@code zone} and {@code resolver+zone}, else null
 * @param qtype value of the grouping {@code qtype}, else null
 * @param isOther whether this is the group of all transactions that have no group of their own
 */
public record WindowKey(
    long startMs,
    int lengthSeconds,
    int stepSeconds,
    String grouping,
    String vantage,
    String region,
    String resolver,
    String zone,
    String qtype,
    boolean isOther) {

  /** Returns the end of the window in milliseconds since 1970. */
  public long endMs() {
    return startMs + lengthSeconds * 1000L;
  }

  /** Returns the key of the window of another grouping over the same span of time. */
  WindowKey regroup(String newGrouping, String newRegion) {
    return new WindowKey(
        startMs,
        lengthSeconds,
        stepSeconds,
        newGrouping,
        vantage,
        newRegion,
        null,
        null,
        null,
        false);
  }

  /** Returns the key of the same group over another span of time without overlaps. */
  WindowKey over(long newStartMs, int seconds) {
    return new WindowKey(
        newStartMs, seconds, seconds, grouping, vantage, region, resolver, zone, qtype, isOther);
  }

  /** Returns the key of all that has no group of its own. */
  WindowKey rest() {
    return new WindowKey(
        startMs, lengthSeconds, stepSeconds, grouping, vantage, null, null, null, null, true);
  }

  /**
   * Returns the value of the group: empty for {@code all}; {@code other} for the rest; null if what
   * the grouping is by is missing.
   */
  public String value() {
    if (isOther) {
      return "other";
    }
    return switch (grouping) {
      case "region" -> region;
      case "resolver" -> resolver;
      case "zone" -> zone;
      case "qtype" -> qtype;
      case "resolver+zone" -> resolver == null || zone == null ? null : resolver + " " + zone;
      default -> "";
    };
  }

  /** Returns grouping and value: what a group's windows of all times have in common. */
  public String group() {
    // A group with the value «other» is not the group of the rest.
    return grouping + (isOther ? "?" : "=") + value();
  }

  /** Returns a text that differs from the texts of all other keys. */
  public String text() {
    return startMs + "/" + lengthSeconds + "/" + stepSeconds + "/" + vantage + "/" + group();
  }
}
