package dnscribe.stream.fleet;

import org.apache.datasketches.common.SketchesArgumentException;
import org.apache.datasketches.hll.HllSketch;
import org.apache.datasketches.hll.TgtHllType;
import org.apache.datasketches.hll.Union;
import org.apache.datasketches.memory.Memory;

/** Number of different values: HyperLogLog of Apache DataSketches as in {@code dns.window/1}. */
final class DistinctSketch {
  /** Logarithm of the number of registers, as the agent's. */
  private static final int LG_REGISTERS = 11;

  private static final int DEVIATIONS = 2;

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
    try {
      return new DistinctSketch(HllSketch.heapify(Memory.wrap(encoded)));
    } catch (SketchesArgumentException | IndexOutOfBoundsException | AssertionError error) {
      throw new IllegalArgumentException("not an HLL sketch: " + error.getMessage(), error);
    }
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
