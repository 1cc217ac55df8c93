package dnscribe.stream.fleet;

import com.datadoghq.sketch.ddsketch.DDSketch;
import com.datadoghq.sketch.ddsketch.DDSketchProtoBinding;
import com.datadoghq.sketch.ddsketch.mapping.IndexMappingProtoBinding;
import com.datadoghq.sketch.ddsketch.mapping.LogarithmicMapping;
import com.datadoghq.sketch.ddsketch.proto.IndexMapping;
import com.datadoghq.sketch.ddsketch.store.CollapsingLowestDenseStore;
import com.datadoghq.sketch.ddsketch.store.Store;
import com.google.protobuf.CodedInputStream;
import com.google.protobuf.ExtensionRegistryLite;
import com.google.protobuf.WireFormat;
import java.io.IOException;

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

  /** Bins of values that are numbers. */
  private static final int FIRST_BIN = MAPPING.index(MAPPING.minIndexableValue());

  private static final int LAST_BIN = MAPPING.index(MAPPING.maxIndexableValue());

  /** Values of one bin at most: up to there a {@code double} counts each. */
  private static final double MAX_COUNT = 1L << 53;

  private static final ExtensionRegistryLite NO_EXTENSIONS =
      ExtensionRegistryLite.getEmptyRegistry();

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
    LatencySketch parsed = empty();
    parsed.merge(encoded);
    return parsed;
  }

  /**
   * Reads the message's bins and returns the number of values that count as zero. The generated
   * classes make an object of each bin, and most bins are empty.
   */
  private static double read(byte[] encoded, Store positive, Store negative) {
    CodedInputStream in = CodedInputStream.newInstance(encoded);
    IndexMapping mapping = IndexMapping.getDefaultInstance();
    double zeros = 0;
    try {
      for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
        switch (tag) {
          case 1 << 3 | WireFormat.WIRETYPE_LENGTH_DELIMITED ->
              mapping = in.readMessage(IndexMapping.parser(), NO_EXTENSIONS);
          case 2 << 3 | WireFormat.WIRETYPE_LENGTH_DELIMITED -> readStore(in, positive);
          case 3 << 3 | WireFormat.WIRETYPE_LENGTH_DELIMITED -> readStore(in, negative);
          case 4 << 3 | WireFormat.WIRETYPE_FIXED64 -> zeros = count(in.readDouble());
          default -> in.skipField(tag);
        }
      }
    } catch (IOException error) {
      throw new IllegalArgumentException("not a DDSketch: " + error.getMessage(), error);
    }
    if (Math.abs(mapping.getGamma() - GAMMA) > 1e-9
        || mapping.getIndexOffset() != 0
        || mapping.getInterpolation() != IndexMapping.Interpolation.NONE) {
      throw new IllegalArgumentException("a DDSketch of another accuracy");
    }
    return zeros;
  }

  /** Reads a message {@code Store}: single bins, and the counts of contiguous ones. */
  private static void readStore(CodedInputStream in, Store bins) throws IOException {
    int limit = in.pushLimit(in.readRawVarint32());
    double[] counts = {};
    int first = 0;
    for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
      switch (tag) {
        case 1 << 3 | WireFormat.WIRETYPE_LENGTH_DELIMITED -> readBin(in, bins);
        case 2 << 3 | WireFormat.WIRETYPE_LENGTH_DELIMITED -> {
          int end = in.pushLimit(in.readRawVarint32());
          if (counts.length > 0 || in.getBytesUntilLimit() % Double.BYTES != 0) {
            throw new IOException("its bins are not one list of numbers");
          }
          counts = new double[in.getBytesUntilLimit() / Double.BYTES];
          for (int i = 0; i < counts.length; i++) {
            counts[i] = in.readDouble();
          }
          in.popLimit(end);
        }
        case 2 << 3 | WireFormat.WIRETYPE_FIXED64 ->
            throw new IOException("its bins are not one list of numbers");
        case 3 << 3 | WireFormat.WIRETYPE_VARINT -> first = in.readSInt32();
        default -> in.skipField(tag);
      }
    }
    in.popLimit(limit);
    for (int i = 0; i < counts.length; i++) {
      if (counts[i] != 0) {
        add(bins, first + i, counts[i]);
      }
    }
  }

  /** Reads an entry of a Protobuf map from bins to counts. */
  private static void readBin(CodedInputStream in, Store bins) throws IOException {
    int limit = in.pushLimit(in.readRawVarint32());
    int index = 0;
    double count = 0;
    for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
      switch (tag) {
        case 1 << 3 | WireFormat.WIRETYPE_VARINT -> index = in.readSInt32();
        case 2 << 3 | WireFormat.WIRETYPE_FIXED64 -> count = in.readDouble();
        default -> in.skipField(tag);
      }
    }
    in.popLimit(limit);
    add(bins, index, count);
  }

  private static void add(Store bins, int index, double count) throws IOException {
    if (index < FIRST_BIN || index > LAST_BIN) {
      throw new IOException("a bin of no number");
    }
    bins.add(index, count(count));
  }

  private static double count(double values) throws IOException {
    if (!(values >= 0 && values <= MAX_COUNT)) {
      throw new IOException("a bin with " + values + " values");
    }
    return values;
  }

  void add(double milliseconds) {
    sketch.accept(milliseconds);
  }

  /** Adds the values of an encoded sketch; throws as {@link #parse} if it is none. */
  void merge(byte[] encoded) {
    double zeros = read(encoded, sketch.getPositiveValueStore(), sketch.getNegativeValueStore());
    if (zeros > 0) {
      sketch.accept(0, zeros);
    }
  }

  long count() {
    return Math.round(sketch.getCount());
  }

  boolean isEmpty() {
    return sketch.isEmpty();
  }

  /** Returns the value at a rank from 0 to 1; NaN if there are none. */
  double quantile(double rank) {
    return isEmpty() ? Double.NaN : sketch.getValueAtQuantile(rank);
  }

  byte[] encode() {
    var message = DDSketchProtoBinding.toProto(sketch).toBuilder();
    return message.setMapping(ENCODED_MAPPING).build().toByteArray();
  }
}
