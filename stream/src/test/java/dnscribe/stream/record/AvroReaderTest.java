package dnscribe.stream.record;

import static dnscribe.stream.Records.text;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.junit.jupiter.api.Test;

class AvroReaderTest {
  private static final int ID = 7;
  private static final String EXPECTED =
      """
      {"schema":"dns.transaction/1","event_id":"00000000000000000000000000000001",\
      "ts":"2026-01-02T03:04:05.123456789Z","node":"n1","labels":{"environment":"prod"},\
      "vantage":"client","transport":"udp","client_ip":"192.0.2.1","client_port":4242,\
      "server_ip":"192.0.2.53","server_port":53,"id":7,"opcode":"QUERY",\
      "qname":"\\\\000.\\"example","status":"answered","latency_ms":0.0005,"retries":0,\
      "flags":["rd","ra"],"answers":[{"name":"a","type":"A","ttl":60,"data":"192.0.2.1"}],\
      "resolver":"192.0.2.53"}""";
  private final Schema schema;
  private final AvroReader reader =
      new AvroReader(
          id -> {
            if (id != ID) {
              throw new MalformedException("avro", "no schema " + id);
            }
            return schema();
          });

  AvroReaderTest() throws IOException {
    schema = new Schema.Parser().parse(Path.of("../schemas/dns.transaction-1.avsc").toFile());
  }

  private Schema schema() {
    return schema;
  }

  @Test
  void recordsAreTheJsonOfTheAgent() throws Exception {
    byte[] record = framed(ID);
    assertThat(AvroReader.isAvro(record)).isTrue();
    byte[] json = reader.toJson(record);
    assertThat(text(json)).isEqualTo(EXPECTED);
    assertThat(new RecordChecker("dns.transaction/1").check(json).qname())
        .isEqualTo("\\000.\"example");
  }

  @Test
  void refusesWhatDoesNotFitItsSchema() throws Exception {
    byte[] record = framed(ID);
    for (int length = 1; length < record.length; length++) {
      byte[] cut = Arrays.copyOf(record, length);
      assertThat(refusal(cut)).as("%d bytes", length).isEqualTo("avro");
    }
    assertThat(refusal(Arrays.copyOf(record, record.length + 1))).isEqualTo("avro");
    assertThat(refusal(framed(ID + 1))).isEqualTo("avro");
    assertThat(text(reader.toJson(record))).isEqualTo(EXPECTED);
  }

  private String refusal(byte[] record) {
    return catchThrowableOfType(MalformedException.class, () -> reader.toJson(record)).reason();
  }

  private byte[] framed(int id) throws IOException {
    Schema answer =
        schema.getField("answers").schema().getTypes().stream()
            .filter(type -> type.getType() == Schema.Type.ARRAY)
            .findFirst()
            .orElseThrow()
            .getElementType();
    GenericRecord first =
        new GenericRecordBuilder(answer)
            .set("name", "a")
            .set("type", "A")
            .set("ttl", 60L)
            .set("data", "192.0.2.1")
            .build();
    GenericRecordBuilder builder = new GenericRecordBuilder(schema);
    Map.ofEntries(
            Map.entry("schema", "dns.transaction/1"),
            Map.entry("event_id", "00000000000000000000000000000001"),
            Map.entry("ts", "2026-01-02T03:04:05.123456789Z"),
            Map.entry("node", "n1"),
            Map.entry("labels", Map.of("environment", "prod")),
            Map.entry("vantage", "client"),
            Map.entry("transport", "udp"),
            Map.entry("client_ip", "192.0.2.1"),
            Map.entry("client_port", 4242L),
            Map.entry("server_ip", "192.0.2.53"),
            Map.entry("server_port", 53L),
            Map.entry("id", 7L),
            Map.entry("opcode", "QUERY"),
            Map.entry("qname", "\\000.\"example"),
            Map.entry("status", "answered"),
            Map.entry("latency_ms", 0.0005),
            Map.entry("retries", 0L),
            Map.entry("flags", List.of("rd", "ra")),
            Map.entry("answers", List.of(first)),
            Map.entry("resolver", "192.0.2.53"))
        .forEach(builder::set);
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    out.writeBytes(ByteBuffer.allocate(5).put((byte) 0).putInt(id).array());
    BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
    new GenericDatumWriter<GenericData.Record>(schema).write(builder.build(), encoder);
    encoder.flush();
    return out.toByteArray();
  }
}
