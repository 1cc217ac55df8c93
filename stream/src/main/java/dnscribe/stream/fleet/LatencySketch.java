package dnscribe.stream.fleet;

import com.datadoghq.sketch.ddsketch.DDSketch;
import com.datadoghq.sketch.ddsketch.DDSketchProtoBinding;
import com.datadoghq.sketch.ddsketch.mapping.LogarithmicMapping;
import com.datadoghq.sketch.ddsketch.store.CollapsingLowestDenseStore;
import com.google.protobuf.InvalidProtocolBufferException;
import java.nio.ByteBuffer;

/** Latencies in milliseconds: Datadog's DDSketch as in {@code dns.window/1}. */
final class LatencySketch {
  /** As the agent's: quantiles are within 1 %. */
  private static final double ACCURACY = 0.01;

  /** Bins at most; the agent's, from a microsecond to ten minutes, are about a thousand. */
  private static final int BINS = 2048;

  private static final LogarithmicMapping MAPPING = new LogarithmicMapping(ACCURACY);

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
      DDSketch sketch =
          DDSketchProtoBinding.fromProto(() -> new CollapsingLowestDenseStore(BINS), message);
      if (!sketch.getIndexMapping().equals(MAPPING)) {
        throw new IllegalArgumentException("a DDSketch of another accuracy");
      }
      return new LatencySketch(sketch);
    } catch (InvalidProtocolBufferException error) {
      throw new IllegalArgumentException("not a DDSketch: " + error.getMessage(), error);
    }
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
    ByteBuffer buffer = sketch.serialize();
    byte[] bytes = new byte[buffer.remaining()];
    buffer.get(bytes);
    return bytes;
  }
}
