package dnscribe.stream.ledger;

import java.util.Map;

/**
 * Counters of one subtask since the job's beginning, as of a checkpoint.
 *
 * @param operator its name
 * @param subtask its index, of {@code parallelism}
 * @param values counters by their place in the ledger, such as {@code input/dns.normalized/unique}
 */
public record Counts(String operator, int subtask, int parallelism, Map<String, Long> values) {
  private static final String OFFSETS = "/offsets/";

  /** Returns the place of the offset after the last record that was read of a partition. */
  static String offsetPlace(String topic, int partition) {
    return "input/" + topic + OFFSETS + partition;
  }

  /** Returns whether the value at this place is an offset: the largest counts, not the sum. */
  static boolean isOffset(String place) {
    return place.contains(OFFSETS);
  }

  /** Adds a value to others at the same place. */
  static long add(String place, long one, long other) {
    return isOffset(place) ? Math.max(one, other) : one + other;
  }
}
