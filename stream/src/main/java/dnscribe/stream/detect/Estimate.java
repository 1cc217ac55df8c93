package dnscribe.stream.detect;

import java.util.Map;

/**
 * Exponentially weighted mean and mean absolute deviation of a value, as the agent's baselines:
 * steps are clamped to three deviations (Huber, 1964), so an outlier barely moves the mean and a
 * new level is still adopted. Held as an array, so that state has no types of its own.
 */
final class Estimate {
  /** Standard deviation divided by mean absolute deviation, for a normal distribution: √(π/2). */
  static final double SIGMA = 1.2533141373155001;

  /** Weight of a new minute: a memory of one hour. */
  static final double HOUR = 1.0 / 60;

  /** Values of a baseline at least. */
  static final int WARM = 10;

  /** Factor for the weight of a value that was found anomalous. */
  private static final double DISTRUST = 1.0 / 8;

  private static final double CLAMP = 3;
  private static final int FIRST_CLAMPED = 5;
  private static final int MEAN = 0;
  private static final int DEVIATION = 1;
  private static final int COUNT = 2;
  static final int LENGTH = 3;

  private final double[] state;
  private final int offset;

  Estimate(double[] state, int offset) {
    this.state = state;
    this.offset = offset;
  }

  static Estimate in(Map<String, double[]> memory, String name) {
    return new Estimate(memory.computeIfAbsent(name, key -> new double[LENGTH]), 0);
  }

  /** Learns a value; a value that is anomalous from the start does not become the baseline. */
  void learn(double value, double floor, double weight, boolean anomalous) {
    if (anomalous && count() < WARM) {
      return;
    }
    double step = value - mean();
    if (count() >= FIRST_CLAMPED) {
      double bound = CLAMP * sigma(floor);
      step = Math.max(-bound, Math.min(bound, step));
    }
    double share = Math.max(weight, 1.0 / (count() + 1)) * (anomalous ? DISTRUST : 1);
    if (count() > 0) {
      state[offset + DEVIATION] += share * (Math.abs(step) - state[offset + DEVIATION]);
    }
    state[offset + MEAN] += share * step;
    state[offset + COUNT]++;
  }

  double mean() {
    return state[offset + MEAN];
  }

  double sigma(double floor) {
    return Math.max(state[offset + DEVIATION] * SIGMA, floor);
  }

  long count() {
    return (long) state[offset + COUNT];
  }

  boolean isWarm() {
    return count() >= WARM;
  }

  Figure.Usual usual(double value, double floor, boolean seasonal) {
    return new Figure.Usual(
        mean(), sigma(floor), (value - mean()) / sigma(floor), count(), seasonal);
  }
}
