package dnscribe.stream.detect;

import dnscribe.stream.detect.Figure.Usual;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * What a value of a minute usually is, by three estimates: the exponentially weighted mean of the
 * last hour; the median of the last sixty minutes with the modified z-score (Iglewicz and Hoaglin,
 * 1993); and the weighted mean of this hour of the week over the last weeks. A value is unusual if
 * all that are known say so: a morning's rise is unusual for the last hour only, a holiday for the
 * hour of the week only.
 *
 * <p>Of the hours of the week, the one before and after count, too, so that a change to summer time
 * does not make every zone unusual. Until an hour was seen in enough weeks, the same hour of the
 * days before stands in for it.
 */
final class Baseline {
  private static final int RING = 60;
  private static final int HOURS = 168;
  private static final int HOUR_LENGTH = Estimate.LENGTH + 2;
  private static final int POSITION = Estimate.LENGTH + RING;
  private static final int FILLED = POSITION + 1;
  private static final int ANOMALIES = FILLED + 1;
  private static final int FIRST = ANOMALIES + 1;
  private static final int SEASON = FIRST + 1;
  private static final int LENGTH = SEASON + HOURS * HOUR_LENGTH;

  /** Weeks in which an hour of the week was seen before it is used. */
  private static final int WEEKS = 2;

  /** Weight of a minute within its hour of the week: a memory of three weeks. */
  private static final double SEASON_WEIGHT = 1.0 / 180;

  /** Of anomalous values, one in so many enters the ring of the last hour. */
  private static final int DISTRUST = 8;

  /** Deviation of a normal distribution divided by its median absolute deviation. */
  private static final double MAD_SIGMA = 1 / 0.6745;

  private static final long HOUR_MS = 3_600_000;

  private final double[] state;

  private Baseline(double[] state) {
    this.state = state;
  }

  static Baseline in(Map<String, double[]> memory, String name) {
    return new Baseline(memory.computeIfAbsent(name, key -> new double[LENGTH]));
  }

  /** Learns the value of the minute that starts at {@code start}. */
  void learn(long start, double value, double floor, boolean anomalous) {
    recent().learn(value, floor, Estimate.HOUR, anomalous);
    if (!anomalous || ++state[ANOMALIES] % DISTRUST == 0) {
      state[Estimate.LENGTH + (int) state[POSITION]] = value;
      state[POSITION] = (state[POSITION] + 1) % RING;
      state[FILLED] = Math.min(RING, state[FILLED] + 1);
    }
    int hour = hour(start);
    double week = week(start);
    int weeks = SEASON + hour * HOUR_LENGTH + Estimate.LENGTH;
    if (state[weeks] == 0 || state[weeks + 1] != week) {
      state[weeks]++;
      state[weeks + 1] = week;
    }
    // What is unusual in an hour that was never seen is all that is known of that hour.
    Estimate season = season(hour);
    season.learn(value, floor, SEASON_WEIGHT, anomalous && season.isWarm());
    if (state[FIRST] == 0) {
      state[FIRST] = start;
    }
  }

  /** Returns the estimates that are known, nearest to {@code value} first; none before warm-up. */
  List<Usual> compare(long start, double value, double floor) {
    List<Usual> known = new ArrayList<>();
    if (!recent().isWarm()) {
      return known;
    }
    known.add(recent().usual(value, floor, false));
    if (state[FILLED] >= Estimate.WARM) {
      known.add(median(value, floor));
    }
    Usual season = season(start, value, floor);
    if (season != null) {
      known.add(season);
    }
    known.sort((a, b) -> Double.compare(Math.abs(a.z()), Math.abs(b.z())));
    return known;
  }

  /** Returns for how long values have been learned before {@code start}, in milliseconds. */
  double age(long start) {
    return state[FIRST] == 0 ? 0 : start - state[FIRST];
  }

  boolean isWarm() {
    return recent().isWarm();
  }

  double mean() {
    return recent().mean();
  }

  private Estimate recent() {
    return new Estimate(state, 0);
  }

  private Estimate season(int hour) {
    return new Estimate(state, SEASON + hour * HOUR_LENGTH);
  }

  private Usual median(double value, double floor) {
    int filled = (int) state[FILLED];
    double[] sorted = Arrays.copyOfRange(state, Estimate.LENGTH, Estimate.LENGTH + filled);
    double median = middle(sorted);
    for (int i = 0; i < filled; i++) {
      sorted[i] = Math.abs(sorted[i] - median);
    }
    double sigma = Math.max(middle(sorted) * MAD_SIGMA, floor);
    return new Usual(median, sigma, (value - median) / sigma, filled, false);
  }

  private static double middle(double[] values) {
    Arrays.sort(values);
    int half = values.length / 2;
    return values.length % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  }

  /** Returns the nearest of the hours of the week around now, else of the days before. */
  private Usual season(long start, double value, double floor) {
    Usual nearest = null;
    int hour = hour(start);
    for (int near = hour - 1; near <= hour + 1; near++) {
      int index = Math.floorMod(near, HOURS);
      if (state[SEASON + index * HOUR_LENGTH + Estimate.LENGTH] > WEEKS) {
        nearest = nearer(nearest, season(index), value, floor);
      }
    }
    if (nearest != null) {
      return nearest;
    }
    for (int day = 1; day < 7; day++) {
      for (int near = hour - 1; near <= hour + 1; near++) {
        int index = Math.floorMod(near - 24 * day, HOURS);
        if (season(index).isWarm()) {
          nearest = nearer(nearest, season(index), value, floor);
        }
      }
    }
    return nearest;
  }

  private static Usual nearer(Usual nearest, Estimate season, double value, double floor) {
    Usual usual = season.usual(value, floor, true);
    return nearest == null || Math.abs(usual.z()) < Math.abs(nearest.z()) ? usual : nearest;
  }

  private static int hour(long start) {
    return Math.floorMod(Math.floorDiv(start, HOUR_MS), HOURS);
  }

  private static long week(long start) {
    return Math.floorDiv(Math.floorDiv(start, HOUR_MS), HOURS);
  }
}
