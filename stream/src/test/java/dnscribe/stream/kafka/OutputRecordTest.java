package dnscribe.stream.kafka;

import static org.assertj.core.api.Assertions.assertThat;

import dnscribe.stream.Records;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class OutputRecordTest {
  @ParameterizedTest
  @CsvSource({
    "fedcba98765432100123456789abcdef, key",
    "00000000000000018000000000000000,",
  })
  void isTheSameAfterAnExchange(String id, String key) throws Exception {
    byte[] bytes = key == null ? null : Records.bytes(key);
    var record = new OutputRecord("dns.enriched/1", "ñ", id, bytes, Records.bytes("{}"));
    var serializer = OutputRecordTypeFactory.Serializer.INSTANCE;
    DataOutputSerializer out = new DataOutputSerializer(256);
    serializer.serialize(record, out);
    var read = serializer.deserialize(new DataInputDeserializer(out.getCopyOfBuffer()));
    assertThat(read.eventId()).isEqualTo(id);
    assertThat(read).usingRecursiveComparison().isEqualTo(record);
    assertThat(Records.text(read.node())).isEqualTo("ñ");
  }
}
