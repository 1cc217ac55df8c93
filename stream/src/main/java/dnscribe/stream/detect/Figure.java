package dnscribe.stream.detect;

/**
 * A number behind a finding, as in {@code dns.alert/1}.
 *
 * @param name with its unit
 * @param threshold that it was compared with, or null
 * @param baseline that it was compared with, or null
 */
public record Figure(String name, double value, Double threshold, Usual baseline) {
  static Figure of(String name, double value) {
    return new Figure(name, value, null, null);
  }

  static Figure of(String name, long count) {
    return of(name, (double) count);
  }

  static Figure of(String name, long count, double threshold) {
    return of(name, (double) count, threshold);
  }

  static Figure of(String name, double value, double threshold) {
    return new Figure(name, value, threshold, null);
  }

  /**
   * What a value usually is.
   *
   * @param z distance of the value from the mean, in deviations
   * @param samples spans that it was learned from
   * @param seasonal whether it is that of this hour of the week
   */
  public record Usual(double mean, double deviation, double z, long samples, boolean seasonal) {}
}
