package dnscribe.stream.record;

import static dnscribe.stream.Records.bytes;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dnscribe.stream.Damage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.List;
import org.apache.avro.Schema;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Damaged records in JSON and Avro: each is taken, or refused with a reason. */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class DamagedRecordsTest {
  private static final int ATTEMPTS = 5_000;
  private static final ObjectMapper JSON = new ObjectMapper();

  @ParameterizedTest
  @CsvSource({
    "lab.ndjson,dns.transaction/1",
    "alerts.ndjson,dns.alert/1",
    "encrypted.ndjson,dns.connection/1",
    "lookups.ndjson,dns.lookup/1",
    "probes.ndjson,dns.probe/1",
    "uses.ndjson,dns.use/1",
    "windows.ndjson,dns.window/1",
  })
  void isTakenOrRefused(String file, String name) throws Exception {
    List<byte[]> records = Damage.goldens(file, name);
    Damage damage = new Damage(1);
    RecordChecker checker = new RecordChecker(name);
    Schema schema =
        new Schema.Parser()
            .parse(Path.of("..", "schemas", name.replace('/', '-') + ".avsc").toFile());
    AvroReader avro = new AvroReader(id -> schema);
    int taken = 0;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      byte[] record = damage.one(records);
      byte[] json = damage.json(record);
      taken += isTaken(checker, json) ? 1 : 0;
      byte[] framed = framed(damage.bytes(encode(schema, JSON.readTree(record))));
      try {
        taken += isTaken(checker, avro.toJson(framed)) ? 1 : 0;
      } catch (MalformedException refused) {
        assertThat(refused.reason()).isEqualTo("avro");
      }
    }
    assertThat(taken).isBetween(ATTEMPTS / 10, 2 * ATTEMPTS);
  }

  private static boolean isTaken(RecordChecker checker, byte[] json) {
    try {
      CheckedRecord record = checker.check(json);
      assertThat(json[record.schemaStart()]).isEqualTo((byte) '"');
      assertThat(json[record.end()]).isEqualTo((byte) '}');
      return true;
    } catch (MalformedException refused) {
      assertThat(refused.reason()).isNotEqualTo("unreadable");
      return false;
    }
  }

  @ParameterizedTest
  @CsvSource({"-1", "1099511627776", "2147483647", "1500000000", "-9223372036854775808"})
  void lengthsThatNoRecordHasTakeNoMemory(long length) throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    out.writeBytes(new byte[] {0, 0, 0, 0, 1});
    BinaryEncoder encoder = EncoderFactory.get().directBinaryEncoder(out, null);
    encoder.writeLong(length);
    out.writeBytes(bytes("abc"));
    for (String type : List.of("\"string\"", array("\"null\""), map("\"string\""))) {
      Schema schema = new Schema.Parser().parse(type);
      assertThatCode(() -> new AvroReader(id -> schema).toJson(out.toByteArray()))
          .isInstanceOf(MalformedException.class);
    }
  }

  @Test
  void lengthsOfWholeRecordsAreTaken() throws Exception {
    byte[] record = Damage.goldens("lab.ndjson", "dns.transaction/1").get(0);
    Schema schema =
        new Schema.Parser().parse(Path.of("../schemas/dns.transaction-1.avsc").toFile());
    byte[] json =
        new AvroReader(id -> schema).toJson(framed(encode(schema, JSON.readTree(record))));
    assertThat(JSON.readTree(json)).isEqualTo(JSON.readTree(record));
  }

  private static String array(String items) {
    return "{\"type\":\"array\",\"items\":" + items + "}";
  }

  private static String map(String values) {
    return "{\"type\":\"map\",\"values\":" + values + "}";
  }

  private static byte[] framed(byte[] encoded) {
    return ByteBuffer.allocate(5 + encoded.length).position(5).put(encoded).array();
  }

  private static byte[] encode(Schema schema, JsonNode record) throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    BinaryEncoder encoder = EncoderFactory.get().directBinaryEncoder(out, null);
    encode(schema, record, encoder);
    encoder.flush();
    return out.toByteArray();
  }

  private static void encode(Schema schema, JsonNode value, BinaryEncoder out) throws IOException {
    switch (schema.getType()) {
      case UNION -> {
        List<Schema> types = schema.getTypes();
        boolean isNull = value == null || value.isMissingNode();
        int chosen = 0;
        while ((types.get(chosen).getType() == Schema.Type.NULL) != isNull) {
          chosen++;
        }
        out.writeIndex(chosen);
        encode(types.get(chosen), value, out);
      }
      case RECORD -> {
        for (Schema.Field field : schema.getFields()) {
          encode(field.schema(), value.path(field.name()), out);
        }
      }
      case ARRAY -> {
        out.writeArrayStart();
        out.setItemCount(value.size());
        for (JsonNode item : value) {
          out.startItem();
          encode(schema.getElementType(), item, out);
        }
        out.writeArrayEnd();
      }
      case MAP -> {
        out.writeMapStart();
        out.setItemCount(value.size());
        for (var entry : value.properties()) {
          out.startItem();
          out.writeString(entry.getKey());
          encode(schema.getValueType(), entry.getValue(), out);
        }
        out.writeMapEnd();
      }
      case STRING -> out.writeString(value.asText());
      case LONG -> out.writeLong(value.asLong());
      case INT -> out.writeInt(value.asInt());
      case DOUBLE -> out.writeDouble(value.asDouble());
      case BOOLEAN -> out.writeBoolean(value.asBoolean());
      case NULL -> out.writeNull();
      default -> throw new IOException("a type that records do not use: " + schema.getType());
    }
  }
}
