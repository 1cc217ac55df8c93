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
  private final Union union;

  private DistinctSketch(Union union) {
    this.union = union;
  }

  static DistinctSketch empty() {
    return new DistinctSketch(new Union(LG_REGISTERS));
  }

  /**
   * Parses a serialized sketch.
   *
   * @throws IllegalArgumentException if it is none
   */
  static DistinctSketch parse(byte[] encoded) {
    try {
      Union union = new Union(LG_REGISTERS);
      union.update(HllSketch.heapify(Memory.wrap(encoded)));
      return new DistinctSketch(union);
    } catch (SketchesArgumentException | IndexOutOfBoundsException | AssertionError error) {
      throw new IllegalArgumentException("not an HLL sketch: " + error.getMessage(), error);
    }
  }

  void merge(DistinctSketch other) {
    union.update(other.union.getResult(TgtHllType.HLL_8));
  }

  double estimate() {
    return union.getEstimate();
  }

  double lower() {
    return union.getLowerBound(DEVIATIONS);
  }

  double upper() {
    return union.getUpperBound(DEVIATIONS);
  }

  byte[] encode() {
    return union.getResult(TgtHllType.HLL_6).toCompactByteArray();
  }
}
