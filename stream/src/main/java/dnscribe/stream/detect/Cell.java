package dnscribe.stream.detect;

/**
 * Values of one part of an entity in a span, such as of one node in a zone's minute. Equal cells of
 * several records or subtasks are added up.
 *
 * @param detector its index in {@link Detectors}
 * @param start of the span, in milliseconds since the epoch
 * @param entity what the detector judges
 * @param name part of the entity
 * @param values by the detector's columns
 */
public record Cell(int detector, long start, String entity, String name, long[] values) {
  static final String SEPARATOR = "\t";

  /** Number of buckets of each detector: the unit in which entities are bounded and rescaled. */
  static final int BUCKETS = 256;

  /** Returns the key of the detector's state: the detector and a bucket of its entities. */
  int bucket() {
    // What belongs to one zone stays together.
    int end = entity.indexOf(SEPARATOR);
    String group = end < 0 ? entity : entity.substring(0, end);
    return detector * BUCKETS + Math.floorMod((group.hashCode() * 0x9E3779B1) >>> 8, BUCKETS);
  }

  static String join(String... parts) {
    return String.join(SEPARATOR, parts);
  }

  static String[] split(String joined) {
    return joined.split(SEPARATOR, -1);
  }
}
