package dnscribe.stream.fleet;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.apache.datasketches.common.ArrayOfStringsSerDe;
import org.apache.datasketches.frequencies.ErrorType;
import org.apache.datasketches.frequencies.ItemsSketch;
import org.apache.datasketches.memory.Memory;

/** Most frequent values: Frequent Items of Apache DataSketches as in {@code dns.window/1}. */
final class FrequentSketch {
  /** Slots of a merged sketch. */
  private static final int SLOTS = 1024;

  /** Logarithm of the slots of a sketch at most. */
  private static final int MAX_LG_SLOTS = 16;

  /** Weight of a value at most: two of them fit a long. */
  private static final long MAX_WEIGHT = 1L << 62;

  /** Offsets in a serialized sketch; one without values ends before the last three. */
  private static final int LG_SLOTS_BYTE = 3;

  private static final int LG_CURRENT_SLOTS_BYTE = 4;
  private static final int VALUES = 8;
  private static final int WEIGHT = 16;
  private static final int ERROR = 24;
  private static final int WEIGHTS = 32;

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
      check(encoded, MAX_WEIGHT);
      sketch.merge(ItemsSketch.getInstance(Memory.wrap(encoded), new ArrayOfStringsSerDe()));
    } catch (RuntimeException | AssertionError error) {
      throw new IllegalArgumentException("not a sketch of items: " + error.getMessage(), error);
    }
  }

  /**
   * Checks sizes, for which the library takes memory, and weights, which it adds up.
   *
   * @throws RuntimeException if they are damaged, or a weight is above {@code maxWeight}
   */
  static void check(byte[] bytes, long maxWeight) {
    ByteBuffer encoded = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    int slots = encoded.get(LG_SLOTS_BYTE);
    int current = encoded.get(LG_CURRENT_SLOTS_BYTE);
    if (slots < 0 || slots > MAX_LG_SLOTS || current < 0 || current > slots) {
      throw new IllegalArgumentException("a number of slots that no sketch has");
    }
    if (encoded.limit() <= VALUES) {
      return;
    }
    int values = encoded.getInt(VALUES);
    if (values < 0 || values > 1 << current) {
      throw new IllegalArgumentException(values + " values");
    }
    checkWeight(encoded.getLong(WEIGHT), maxWeight);
    checkWeight(encoded.getLong(ERROR), maxWeight);
    for (int i = 0; i < values; i++) {
      checkWeight(encoded.getLong(WEIGHTS + i * Long.BYTES), maxWeight);
    }
    encoded.position(WEIGHTS + values * Long.BYTES);
    for (int i = 0; i < values; i++) {
      int length = encoded.getInt();
      if (length < 0 || length > encoded.remaining()) {
        throw new IllegalArgumentException("a value of " + length + " bytes");
      }
      encoded.position(encoded.position() + length);
    }
  }

  private static void checkWeight(long weight, long max) {
    if (weight < 0 || weight > max) {
      throw new IllegalArgumentException("a weight of " + weight);
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
