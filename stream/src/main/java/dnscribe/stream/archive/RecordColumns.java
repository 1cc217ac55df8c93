package dnscribe.stream.archive;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import dnscribe.stream.record.Time;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.BitSet;
import java.util.Map;
import java.util.OptionalLong;
import java.util.TreeMap;
import org.apache.parquet.io.api.Binary;
import org.apache.parquet.io.api.RecordConsumer;

/**
 * Writes records in JSON to columns, in one pass over their bytes.
 *
 * <p>Nothing of a record is lost: what no column takes (a field that the schema does not name, a
 * number that is too large, a field that comes a second time) goes to the column {@code
 * other_fields}, by its place as a JSON Pointer (RFC 6901) and with its JSON text. A field that is
 * {@code null} is an absent one.
 */
final class RecordColumns {
  private static final JsonFactory JSON = new JsonFactory();
  private final Column root;
  private final RecordConsumer out;
  private final Map<String, String> others = new TreeMap<>();
  private byte[] json;

  RecordColumns(Column root, RecordConsumer out) {
    this.root = root;
    this.out = out;
  }

  /** Writes a record, which is a JSON object. */
  void write(byte[] record) throws IOException {
    json = record;
    others.clear();
    try (JsonParser parser = JSON.createParser(record)) {
      if (parser.nextToken() != JsonToken.START_OBJECT) {
        throw new IOException("a record that is not a JSON object");
      }
      out.startMessage();
      writeFields(parser, root);
      if (!others.isEmpty()) {
        writeOthers();
      }
      out.endMessage();
    }
  }

  private void writeFields(JsonParser parser, Column struct) throws IOException {
    BitSet written = new BitSet();
    for (String key = parser.nextFieldName(); key != null; key = parser.nextFieldName()) {
      JsonToken token = parser.nextToken();
      Column column = struct.fields().get(key);
      if (token == JsonToken.VALUE_NULL) {
        continue;
      }
      if (column == null || written.get(column.index()) || !takes(column, token, parser)) {
        keep(parser);
        continue;
      }
      written.set(column.index());
      out.startField(key, column.index());
      writeValue(parser, column);
      out.endField(key, column.index());
    }
  }

  private static boolean takes(Column column, JsonToken token, JsonParser parser)
      throws IOException {
    return column.takes(token, parser)
        && (column.kind() != Column.Kind.TIME || Time.epochNanos(parser.getText()).isPresent());
  }

  private void writeValue(JsonParser parser, Column column) throws IOException {
    switch (column.kind()) {
      case STRING -> out.addBinary(Binary.fromString(parser.getText()));
      case TIME -> {
        OptionalLong nanos = Time.epochNanos(parser.getText());
        out.addLong(nanos.getAsLong());
      }
      case INT -> out.addInteger(parser.getIntValue());
      case LONG -> out.addLong(parser.getLongValue());
      case DOUBLE -> out.addDouble(parser.getDoubleValue());
      case BOOLEAN -> out.addBoolean(parser.getBooleanValue());
      case STRUCT -> {
        out.startGroup();
        writeFields(parser, column);
        out.endGroup();
      }
      case LIST -> writeList(parser, column.element());
      case MAP -> writeMap(parser, column.element());
    }
  }

  private void writeList(JsonParser parser, Column element) throws IOException {
    out.startGroup();
    boolean isEmpty = true;
    for (JsonToken token = parser.nextToken();
        token != JsonToken.END_ARRAY;
        token = parser.nextToken()) {
      if (isEmpty) {
        out.startField("list", 0);
        isEmpty = false;
      }
      out.startGroup();
      writeElement(parser, token, element, 0);
      out.endGroup();
    }
    if (!isEmpty) {
      out.endField("list", 0);
    }
    out.endGroup();
  }

  private void writeMap(JsonParser parser, Column value) throws IOException {
    out.startGroup();
    boolean isEmpty = true;
    for (String key = parser.nextFieldName(); key != null; key = parser.nextFieldName()) {
      if (isEmpty) {
        out.startField("key_value", 0);
        isEmpty = false;
      }
      out.startGroup();
      writeKey(key);
      writeElement(parser, parser.nextToken(), value, 1);
      out.endGroup();
    }
    if (!isEmpty) {
      out.endField("key_value", 0);
    }
    out.endGroup();
  }

  private void writeKey(String key) {
    out.startField("key", 0);
    out.addBinary(Binary.fromString(key));
    out.endField("key", 0);
  }

  private void writeElement(JsonParser parser, JsonToken token, Column element, int index)
      throws IOException {
    if (token == JsonToken.VALUE_NULL) {
      return;
    }
    if (!takes(element, token, parser)) {
      keep(parser);
      return;
    }
    out.startField(element.name(), index);
    writeValue(parser, element);
    out.endField(element.name(), index);
  }

  /** Takes the value at the parser for {@code other_fields}. */
  private void keep(JsonParser parser) throws IOException {
    String place = parser.getParsingContext().pathAsPointer().toString();
    int start = (int) parser.currentTokenLocation().getByteOffset();
    parser.finishToken();
    parser.skipChildren();
    int end = (int) parser.currentLocation().getByteOffset();
    others.put(place, new String(json, start, end - start, StandardCharsets.UTF_8).strip());
  }

  private void writeOthers() {
    Column column = root.fields().get(Column.OTHER_FIELDS);
    out.startField(column.name(), column.index());
    out.startGroup();
    out.startField("key_value", 0);
    for (Map.Entry<String, String> other : others.entrySet()) {
      out.startGroup();
      writeKey(other.getKey());
      out.startField(column.element().name(), 1);
      out.addBinary(Binary.fromString(other.getValue()));
      out.endField(column.element().name(), 1);
      out.endGroup();
    }
    out.endField("key_value", 0);
    out.endGroup();
    out.endField(column.name(), column.index());
  }
}
