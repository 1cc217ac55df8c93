package dnscribe.stream.fleet;

import com.datadoghq.sketch.ddsketch.DDSketch;
import com.datadoghq.sketch.ddsketch.DDSketchProtoBinding;
import com.datadoghq.sketch.ddsketch.mapping.IndexMappingProtoBinding;
import com.datadoghq.sketch.ddsketch.mapping.LogarithmicMapping;
import com.datadoghq.sketch.ddsketch.proto.IndexMapping;
import com.datadoghq.sketch.ddsketch.store.CollapsingLowestDenseStore;
import com.datadoghq.sketch.ddsketch.store.Store;
import com.google.protobuf.InvalidProtocolBufferException;

/**
 * Latencies in milliseconds: Datadog's DDSketch as in {@code dns.window/1}.
 *
 * <p>There, as in Datadog's sketches-py, bin i has the values in (gamma^(i-1), gamma^i]; in
 * sketches-java those in [gamma^i, gamma^(i+1)). An index offset of 1 makes the two agree. It is 0
 * in the encoded form.
 */
final class LatencySketch {
  /** As the agent's: quantiles are within 1 %. */
  private static final double GAMMA = 1.01 / 0.99;

  /** Bins at most; the agent's, from a microsecond to ten minutes, are about a thousand. */
  private static final int BINS = 2048;

  private static final LogarithmicMapping MAPPING = new LogarithmicMapping(GAMMA, 1);
  private static final IndexMapping ENCODED_MAPPING =
      IndexMappingProtoBinding.toProto(MAPPING).toBuilder().setIndexOffset(0).build();

  private final DDSketch sketch;

  private LatencySketch(DDSketch sketch) {
    this.sketch = sketch;
  }

  static LatencySketch empty() {
    return new LatencySketch(new DDSketch(MAPPING, () -> new CollapsingLowestDenseStore(BINS)));
  }

  /**
   * Parses a Protobuf message.
   *
   * @throws IllegalArgumentException if it is none, or of another accuracy
   */
  static LatencySketch parse(byte[] encoded) {
    try {
      var message = com.datadoghq.sketch.ddsketch.proto.DDSketch.parseFrom(encoded);
      IndexMapping mapping = message.getMapping();
      if (Math.abs(mapping.getGamma() - GAMMA) > 1e-9
          || mapping.getIndexOffset() != 0
          || mapping.getInterpolation() != IndexMapping.Interpolation.NONE) {
        throw new IllegalArgumentException("a DDSketch of another accuracy");
      }
      return new LatencySketch(
          DDSketch.of(
              MAPPING,
              store(message.getNegativeValues()),
              store(message.getPositiveValues()),
              message.getZeroCount()));
    } catch (InvalidProtocolBufferException error) {
      throw new IllegalArgumentException("not a DDSketch: " + error.getMessage(), error);
    }
  }

  /** Decodes bins without the empty ones, which are most of them and would cost as much. */
  private static Store store(com.datadoghq.sketch.ddsketch.proto.Store encoded) {
    Store store = new CollapsingLowestDenseStore(BINS);
    for (int i = 0; i < encoded.getContiguousBinCountsCount(); i++) {
      double count = encoded.getContiguousBinCounts(i);
      if (count != 0) {
        store.add(encoded.getContiguousBinIndexOffset() + i, count);
      }
    }
    encoded.getBinCountsMap().forEach(store::add);
    return store;
  }

  void add(double milliseconds) {
    sketch.accept(milliseconds);
  }

  void merge(LatencySketch other) {
    sketch.mergeWith(other.sketch);
  }

  long count() {
    return Math.round(sketch.getCount());
  }

  double quantile(double rank) {
    return sketch.getValueAtQuantile(rank);
  }

  byte[] encode() {
    var message = DDSketchProtoBinding.toProto(sketch).toBuilder();
    return message.setMapping(ENCODED_MAPPING).build().toByteArray();
  }
}
