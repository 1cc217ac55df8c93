package dnscribe.stream.fleet;

import java.util.HashSet;
import java.util.Set;

/**
 * Values that may be tags: the heaviest of those seen. The fields are public for Flink's
 * serializer.
 *
 * <p>Which values these are changes at full hours of event time, so that all revisions of a window
 * agree. Until there are enough, new ones are admitted at once.
 */
public final class TagSet {
  /** A member stays while it is among this many times the members. */
  private static final int STAY = 2;

  /** Slots of the sketch of weights for each member. */
  private static final int SLOTS = 4;

  /** Values for windows that start at {@link #sinceMs} or later. */
  public Set<String> current = new HashSet<>();

  /** Values for windows that start before. */
  public Set<String> previous = new HashSet<>();

  /** Time of the last change. */
  public long sinceMs = Long.MIN_VALUE;

  /** Frequent Items sketch of transactions by value, halved at each change. */
  public byte[] weights;

  private transient FrequentSketch sketch;

  /** Returns whether a value may be a tag of a window. */
  boolean admits(String value, long startMs, int limit) {
    if (startMs < sinceMs) {
      return previous.contains(value);
    }
    return current.contains(value) || (current.size() < limit && current.add(value));
  }

  void add(String value, long transactions, int limit) {
    if (transactions > 0) {
      sketch(limit).add(value, transactions);
    }
  }

  /** Chooses the values for windows from {@code sinceMs} on. */
  void change(long newSinceMs, int limit) {
    var rows = sketch(limit).rows();
    FrequentSketch halved = FrequentSketch.ofSlots(slots(limit));
    Set<String> chosen = new HashSet<>();
    for (int rank = 0; rank < rows.length; rank++) {
      String value = rows[rank].getItem();
      if (rank < STAY * limit && current.contains(value) && chosen.size() < limit) {
        chosen.add(value);
      }
      if (rows[rank].getEstimate() > 1) {
        halved.add(value, rows[rank].getEstimate() / 2);
      }
    }
    for (int rank = 0; rank < rows.length && chosen.size() < limit; rank++) {
      chosen.add(rows[rank].getItem());
    }
    previous = current;
    current = chosen;
    sinceMs = newSinceMs;
    sketch = halved;
  }

  /** Returns a copy for a snapshot. */
  TagSet snapshot() {
    TagSet copy = new TagSet();
    copy.current = new HashSet<>(current);
    copy.previous = new HashSet<>(previous);
    copy.sinceMs = sinceMs;
    copy.weights = sketch == null ? weights : sketch.encode();
    return copy;
  }

  private FrequentSketch sketch(int limit) {
    if (sketch == null) {
      sketch = FrequentSketch.ofSlots(slots(limit));
      if (weights != null) {
        sketch.merge(weights);
      }
    }
    return sketch;
  }

  private static int slots(int limit) {
    return Integer.highestOneBit(Math.max(limit, 16) * SLOTS) * 2;
  }
}
