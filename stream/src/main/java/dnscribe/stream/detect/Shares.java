package dnscribe.stream.detect;

/** Statistics of shares. */
final class Shares {
  private static final double Z = 2.576;

  private Shares() {}

  /**
   * Returns the lower bound of the Wilson interval (99.5 %) of the share {@code part / whole}
   * (Wilson: "Probable Inference", 1927): near 0 for few observations.
   */
  static double lowerBound(long part, long whole) {
    if (whole <= 0) {
      return 0;
    }
    double share = (double) Math.min(part, whole) / whole;
    double square = Z * Z / whole;
    double width = Z * Math.sqrt(share * (1 - share) / whole + square / (4.0 * whole));
    return Math.max(0, (share + square / 2 - width) / (1 + square));
  }

  static double share(long part, long whole) {
    return whole <= 0 ? 0 : (double) part / whole;
  }

  /** Returns the smallest deviation of a share that is assumed: its variation by chance. */
  static double floor(double usual, long whole) {
    double clamped = Math.min(0.5, Math.max(1.0 / Math.max(whole, 1), usual));
    return Math.max(0.005, Math.sqrt(clamped * (1 - clamped) / Math.max(whole, 1)));
  }
}
