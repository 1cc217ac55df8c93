package dnscribe.stream.fleet;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.datadoghq.sketch.ddsketch.proto.DDSketch;
import com.datadoghq.sketch.ddsketch.proto.IndexMapping;
import com.datadoghq.sketch.ddsketch.proto.Store;
import com.google.protobuf.UnknownFieldSet;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** The encoded form, as the classes that Protobuf generates write it. */
class LatencySketchTest {
  private static DDSketch.Builder message(Store bins) {
    IndexMapping mapping = IndexMapping.newBuilder().setGamma(1.01 / 0.99).build();
    return DDSketch.newBuilder().setMapping(mapping).setPositiveValues(bins);
  }

  /** Returns an encoded sketch with one bin. */
  static byte[] bin(int index, double count) {
    return message(Store.newBuilder().putBinCounts(index, count).build()).build().toByteArray();
  }

  @Test
  void readsContiguousAndSingleBins() {
    Store bins =
        Store.newBuilder()
            .setContiguousBinIndexOffset(-3)
            .addAllContiguousBinCounts(Arrays.asList(2.0, 0.0, 1.0))
            .putBinCounts(500, 3.0)
            .build();
    byte[] encoded = message(bins).setZeroCount(4).build().toByteArray();
    LatencySketch sketch = LatencySketch.parse(encoded);
    assertEquals(10, sketch.count());
    assertEquals(0, sketch.quantile(0.2));
    // Bin i has the values in (gamma^(i-1), gamma^i].
    assertEquals(Math.pow(1.01 / 0.99, 499.5), sketch.quantile(1), 300);
    LatencySketch again = LatencySketch.parse(sketch.encode());
    assertEquals(10, again.count());
    assertEquals(sketch.quantile(0.5), again.quantile(0.5));
  }

  @Test
  void skipsFieldsThatItDoesNotKnow() {
    UnknownFieldSet.Field text = UnknownFieldSet.Field.newBuilder().addVarint(7).build();
    UnknownFieldSet unknown = UnknownFieldSet.newBuilder().addField(99, text).build();
    Store bins = Store.newBuilder().addContiguousBinCounts(1).setUnknownFields(unknown).build();
    assertEquals(1, LatencySketch.parse(message(bins).build().toByteArray()).count());
  }

  @Test
  void refusesWhatIsNoSketch() {
    Store bins =
        Store.newBuilder()
            .setContiguousBinIndexOffset(-7)
            .addContiguousBinCounts(1)
            .putBinCounts(3, 2)
            .build();
    byte[] good = message(bins).setZeroCount(4).build().toByteArray();
    byte[] negative = bin(3, -2);
    byte[] coarse =
        message(bins).setMapping(IndexMapping.newBuilder().setGamma(1.1)).build().toByteArray();
    for (byte[] wrong :
        new byte[][] {
          negative,
          bin(3, Double.NaN),
          bin(3, Double.POSITIVE_INFINITY),
          bin(Integer.MAX_VALUE, 1),
          message(bins).setZeroCount(-1).build().toByteArray(),
          message(bins).setZeroCount(Double.NaN).build().toByteArray(),
          coarse,
          {},
          {0x12},
          {0x12, 0x7f},
          {0x12, 2, 0x11, 0}
        }) {
      assertThrows(IllegalArgumentException.class, () -> LatencySketch.parse(wrong));
    }
    Random random = new Random(1);
    for (int i = 0; i < 20_000; i++) {
      byte[] damaged = Arrays.copyOf(good, random.nextInt(good.length + 1));
      for (int change = 0; change < 3 && damaged.length > 0; change++) {
        damaged[random.nextInt(damaged.length)] = (byte) random.nextInt();
      }
      try {
        LatencySketch sketch = LatencySketch.parse(damaged);
        sketch.merge(good);
        assertTrue(Double.isFinite(LatencySketch.parse(sketch.encode()).quantile(1)));
      } catch (IllegalArgumentException refused) {
        // As a dead letter.
      }
    }
  }
}
