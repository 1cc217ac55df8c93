package dnscribe.stream.record;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.io.NumberOutput;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;

/**
 * Turns records in Avro, framed as Confluent's clients do (a zero byte and the schema's id in four
 * bytes), into the JSON that the agent would have written: null fields are left out.
 */
public final class AvroReader {
  private static final byte MAGIC = 0;
  private static final int FRAME = 5;
  private static final JsonFactory JSON = new JsonFactory();

  private final SchemaSource source;
  private final Map<Integer, Schema> schemas = new HashMap<>();
  private final ByteArrayOutputStream out = new ByteArrayOutputStream(4096);
  private BinaryDecoder decoder;
  private byte[] text = new byte[256];

  /** Bytes of the record: nothing in it is longer. */
  private int size;

  /** Schemas by their ids: a schema registry. */
  public interface SchemaSource {
    /**
     * Returns a schema; waits while the source is away.
     *
     * @throws MalformedException if there is none with this id
     */
    Schema schema(int id) throws MalformedException, InterruptedException;
  }

  /** Creates a reader that asks {@code source} once for each schema. */
  public AvroReader(SchemaSource source) {
    this.source = source;
  }

  /** Returns whether bytes are framed Avro: no JSON text begins with a zero byte. */
  public static boolean isAvro(byte[] record) {
    return record.length > 0 && record[0] == MAGIC;
  }

  /**
   * Returns a record as JSON.
   *
   * @throws MalformedException if it does not fit the schema that it names
   */
  public byte[] toJson(byte[] record) throws MalformedException, InterruptedException {
    if (record.length < FRAME) {
      throw new MalformedException("avro", "cut within the schema's id");
    }
    int id = ByteBuffer.wrap(record, 1, FRAME - 1).getInt();
    Schema schema = schemas.get(id);
    if (schema == null) {
      schema = source.schema(id);
      schemas.put(id, schema);
    }
    out.reset();
    size = record.length;
    try (JsonGenerator json = JSON.createGenerator(out)) {
      decoder = DecoderFactory.get().binaryDecoder(record, FRAME, record.length - FRAME, decoder);
      write(schema, json);
      if (!decoder.isEnd()) {
        throw new MalformedException("avro", "bytes after the record");
      }
    } catch (IOException | RuntimeException error) {
      throw new MalformedException("avro", "not what schema " + id + " says: " + error);
    }
    return out.toByteArray();
  }

  private void write(Schema schema, JsonGenerator json) throws IOException {
    switch (schema.getType()) {
      case RECORD -> {
        json.writeStartObject();
        for (Schema.Field field : schema.getFields()) {
          Schema type = chosen(field.schema());
          if (type.getType() == Schema.Type.NULL) {
            decoder.readNull();
          } else {
            json.writeFieldName(field.name());
            write(type, json);
          }
        }
        json.writeEndObject();
      }
      case ARRAY -> {
        json.writeStartArray();
        for (long n = decoder.readArrayStart(); length(n) > 0; n = decoder.arrayNext()) {
          for (long i = 0; i < n; i++) {
            write(chosen(schema.getElementType()), json);
          }
        }
        json.writeEndArray();
      }
      case MAP -> {
        json.writeStartObject();
        for (long n = decoder.readMapStart(); length(n) > 0; n = decoder.mapNext()) {
          for (long i = 0; i < n; i++) {
            json.writeFieldName(new String(text, 0, readText(), StandardCharsets.UTF_8));
            write(chosen(schema.getValueType()), json);
          }
        }
        json.writeEndObject();
      }
      case STRING -> {
        int length = readText();
        json.writeUTF8String(text, 0, length);
      }
      case LONG -> json.writeNumber(decoder.readLong());
      case INT -> json.writeNumber(decoder.readInt());
      case DOUBLE -> json.writeNumber(number(decoder.readDouble()));
      case FLOAT -> json.writeNumber(number(decoder.readFloat()));
      case BOOLEAN -> json.writeBoolean(decoder.readBoolean());
      case NULL -> json.writeNull();
      default -> throw new IOException("a type that records do not use: " + schema.getType());
    }
  }

  /** Reads a string into {@link #text} and returns its length. */
  private int readText() throws IOException {
    int length = length(decoder.readLong());
    if (length > text.length) {
      text = new byte[Math.max(length, 2 * text.length)];
    }
    decoder.readFixed(text, 0, length);
    return length;
  }

  /** Refuses what the record cannot have: the decoder would take memory for it. */
  private int length(long wanted) throws IOException {
    if (wanted < 0 || wanted > size) {
      throw new IOException("a length of " + wanted + " in a record of " + size + " bytes");
    }
    return (int) wanted;
  }

  /** Returns the type of the next value: of a union, the one that its index names. */
  private Schema chosen(Schema schema) throws IOException {
    return schema.getType() == Schema.Type.UNION
        ? schema.getTypes().get(decoder.readIndex())
        : schema;
  }

  /** Returns the shortest text that is this number, without an exponent as the agent writes it. */
  private static String number(double value) {
    String shortest = NumberOutput.toString(value, true);
    return shortest.indexOf('E') < 0
        ? shortest
        : new BigDecimal(shortest).stripTrailingZeros().toPlainString();
  }
}
