package dnscribe.stream.detect;

import java.util.Map;

/**
 * Largest TTL of the current period and the one before: what a zone gives, as far as answers from
 * caches show it.
 */
final class PeakTtl {
  private static final int PERIOD = 0;
  private static final int CURRENT = 1;
  private static final int BEFORE = 2;
  private static final int COUNT = 3;
  private static final int COUNT_BEFORE = 4;

  private final double[] state;
  private final long periodMillis;

  private PeakTtl(double[] state, long periodMillis) {
    this.state = state;
    this.periodMillis = periodMillis;
  }

  static PeakTtl in(Map<String, double[]> memory, String name, long periodMillis) {
    return new PeakTtl(memory.computeIfAbsent(name, key -> new double[5]), periodMillis);
  }

  void add(long start, long ttl, long count) {
    double period = (double) Math.floorDiv(start, periodMillis);
    if (period != state[PERIOD]) {
      boolean isNext = period == state[PERIOD] + 1;
      state[BEFORE] = isNext ? state[CURRENT] : 0;
      state[COUNT_BEFORE] = isNext ? state[COUNT] : 0;
      state[CURRENT] = 0;
      state[COUNT] = 0;
      state[PERIOD] = period;
    }
    state[CURRENT] = Math.max(state[CURRENT], (double) ttl);
    state[COUNT] += count;
  }

  double value() {
    return Math.max(state[CURRENT], state[BEFORE]);
  }

  double count() {
    return state[COUNT] + state[COUNT_BEFORE];
  }
}
