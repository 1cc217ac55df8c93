package dnscribe.stream.fleet;

import org.apache.datasketches.common.ArrayOfStringsSerDe;
import org.apache.datasketches.common.SketchesArgumentException;
import org.apache.datasketches.frequencies.ErrorType;
import org.apache.datasketches.frequencies.ItemsSketch;
import org.apache.datasketches.memory.Memory;

/** Most frequent values: Frequent Items of Apache DataSketches as in {@code dns.window/1}. */
final class FrequentSketch {
  /** Slots of a merged sketch. */
  private static final int SLOTS = 1024;

  private final ItemsSketch<String> sketch;

  private FrequentSketch(ItemsSketch<String> sketch) {
    this.sketch = sketch;
  }

  static FrequentSketch empty() {
    return new FrequentSketch(new ItemsSketch<>(SLOTS));
  }

  /**
   * Parses a serialized sketch.
   *
   * @throws IllegalArgumentException if it is none
   */
  static FrequentSketch parse(byte[] encoded) {
    FrequentSketch parsed = empty();
    parsed.merge(encoded);
    return parsed;
  }

  /** Adds the values of an encoded sketch; throws as {@link #parse} if it is none. */
  void merge(byte[] encoded) {
    try {
      sketch.merge(ItemsSketch.getInstance(Memory.wrap(encoded), new ArrayOfStringsSerDe()));
    } catch (SketchesArgumentException | IndexOutOfBoundsException | AssertionError error) {
      throw new IllegalArgumentException("not a sketch of items: " + error.getMessage(), error);
    }
  }

  static FrequentSketch ofSlots(int slots) {
    return new FrequentSketch(new ItemsSketch<>(slots));
  }

  void add(String item, long weight) {
    sketch.update(item, weight);
  }

  /** Returns the rows of the most frequent values, the heaviest first. */
  ItemsSketch.Row<String>[] rows() {
    return sketch.getFrequentItems(ErrorType.NO_FALSE_NEGATIVES);
  }

  byte[] encode() {
    return sketch.toByteArray(new ArrayOfStringsSerDe());
  }
}
