package dnscribe.stream.fleet;

import java.util.Arrays;
import java.util.TreeMap;

/** Counts of values by upper bound; the last bound is infinite. */
final class Histogram {
  double[] bounds = {};
  long[] counts = {};

  /** Adds the counts of another; buckets that only one has are kept. */
  void merge(Histogram other) {
    if (bounds.length == 0) {
      bounds = other.bounds;
      counts = other.counts.clone();
    } else if (Arrays.equals(bounds, other.bounds)) {
      for (int i = 0; i < counts.length; i++) {
        counts[i] += other.counts[i];
      }
    } else {
      // Agents of different versions.
      TreeMap<Double, Long> all = new TreeMap<>();
      for (Histogram one : new Histogram[] {this, other}) {
        for (int i = 0; i < one.counts.length; i++) {
          all.merge(one.bounds[i], one.counts[i], Long::sum);
        }
      }
      bounds = all.keySet().stream().mapToDouble(Double::doubleValue).toArray();
      counts = all.values().stream().mapToLong(Long::longValue).toArray();
    }
  }
}
