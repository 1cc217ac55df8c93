package dnscribe.stream.detect;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.serialization.SerializerConfigImpl;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.apache.flink.types.PojoTestUtils;
import org.junit.jupiter.api.Test;

/** Types between operators have Flink's serializers, and keep their values. */
class SerializationTest {
  @Test
  void signals() throws Exception {
    Finding finding =
        Finding.of(
                60_000,
                Rule.ZONE_FAILING,
                Map.of("zone", "example.com"),
                Severity.CRITICAL,
                "It fails.",
                new Figure("a", 1, 2.0, new Figure.Usual(1, 2, 3, 4, true)),
                Figure.of("b", 5))
            .with(Finding.NODES, List.of("n1"));
    Change change = new Change("e1", 1, "deploy", null, "resolver", "new", null, null, null);
    NodeAlert alert = new NodeAlert("a1", 2, "timeout", "r", null);
    ProbeAlert probe =
        new ProbeAlert("b1", 3, "verdict_dns", "shop", "example.com", null, null, "It.", 2, true);
    for (Signal signal :
        List.of(Signal.of(finding), Signal.of(change), Signal.of(alert), Signal.of(probe))) {
      assertThat(copy(Signal.class, signal)).isEqualTo(signal);
    }
  }

  @Test
  void cells() throws Exception {
    Cell cell = new Cell(1, 60_000, "example.com\tclient", "eu\tn1", new long[] {1, 2, 3});
    assertThat(copy(Cell.class, cell)).usingRecursiveComparison().isEqualTo(cell);
  }

  private static <T> T copy(Class<T> type, T value) throws Exception {
    PojoTestUtils.assertSerializedAsPojoWithoutKryo(type);
    TypeSerializer<T> serializer =
        TypeInformation.of(type).createSerializer(new SerializerConfigImpl());
    DataOutputSerializer out = new DataOutputSerializer(256);
    serializer.serialize(value, out);
    return serializer.deserialize(new DataInputDeserializer(out.getCopyOfBuffer()));
  }
}
