package dnscribe.stream.fleet;

import org.apache.datasketches.hll.HllSketch;
import org.apache.datasketches.hll.TgtHllType;
import org.apache.datasketches.hll.Union;
import org.apache.datasketches.memory.Memory;

/** Number of different values: HyperLogLog of Apache DataSketches as in {@code dns.window/1}. */
final class DistinctSketch {
  /** Logarithm of the number of registers, as the agent's. */
  private static final int LG_REGISTERS = 11;

  private static final int DEVIATIONS = 2;

  /** Offset of the logarithm of the size of a table that the sketch is read into. */
  private static final int LG_TABLE_BYTE = 4;

  /** The largest such table of sketches of any size. */
  private static final int MAX_LG_TABLE = 21;

  /** The sketch as it came; null once there is a union. */
  private HllSketch sketch;

  /** Made where it is needed: most sketches are only merged into another one. */
  private Union union;

  private DistinctSketch(HllSketch sketch) {
    this.sketch = sketch;
  }

  static DistinctSketch empty() {
    return new DistinctSketch(new HllSketch(LG_REGISTERS, TgtHllType.HLL_8));
  }

  /**
   * Parses a serialized sketch.
   *
   * @throws IllegalArgumentException if it is none
   */
  static DistinctSketch parse(byte[] encoded) {
    if (encoded.length <= LG_TABLE_BYTE
        || Byte.toUnsignedInt(encoded[LG_TABLE_BYTE]) > MAX_LG_TABLE) {
      throw new IllegalArgumentException("not an HLL sketch: no size of a table");
    }
    try {
      DistinctSketch sketch = new DistinctSketch(HllSketch.heapify(Memory.wrap(encoded)));
      sketch.checkUse();
      return sketch;
    } catch (RuntimeException | AssertionError error) {
      throw new IllegalArgumentException("not an HLL sketch: " + error.getMessage(), error);
    }
  }

  /** Merges and estimates once: damage that does not show when a sketch is read shows here. */
  private void checkUse() {
    DistinctSketch merged = new DistinctSketch(sketch);
    if (!isCount(estimate())
        || !isCount(merged.lower())
        || !isCount(merged.upper())
        || !isCount(merged.estimate())) {
      throw new IllegalArgumentException("its estimate is no number of values");
    }
  }

  private static boolean isCount(double value) {
    return Double.isFinite(value) && value >= 0;
  }

  /** Adds the values of an encoded sketch; throws as {@link #parse} if it is none. */
  void merge(byte[] encoded) {
    union().update(parse(encoded).sketch);
  }

  /** Returns the estimate that depends on the values only, and not on the order of merging. */
  double estimate() {
    return union == null ? sketch.getCompositeEstimate() : union.getCompositeEstimate();
  }

  double lower() {
    return union().getLowerBound(DEVIATIONS);
  }

  double upper() {
    return union().getUpperBound(DEVIATIONS);
  }

  byte[] encode() {
    return union().getResult(TgtHllType.HLL_6).toCompactByteArray();
  }

  /** Bounds are always those of a union, whose error does not depend on what came first. */
  private Union union() {
    if (union == null) {
      union = new Union(LG_REGISTERS);
      union.update(sketch);
      sketch = null;
    }
    return union;
  }
}
