package dnscribe.stream.archive;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dnscribe.stream.record.RecordSchema;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.parquet.schema.GroupType;
import org.apache.parquet.schema.LogicalTypeAnnotation;
import org.apache.parquet.schema.LogicalTypeAnnotation.TimeUnit;
import org.apache.parquet.schema.MessageType;
import org.apache.parquet.schema.PrimitiveType.PrimitiveTypeName;
import org.apache.parquet.schema.Type;
import org.apache.parquet.schema.Types;

/**
 * A column of the archive, or a group of columns, as one of the JSON Schemas in {@code schemas/}
 * says. Every column is optional, so that files of several versions can be read together.
 *
 * @param index of the column in its group
 * @param fields columns of a {@code STRUCT} by name; empty for others
 * @param element what a {@code LIST} or {@code MAP} holds; null for others
 */
record Column(
    String name, int index, Kind kind, Map<String, Column> fields, Column element, Type type) {

  /** Name of the column with the fields that no other column takes, and their JSON text. */
  static final String OTHER_FIELDS = "other_fields";

  /** Name of what a list holds, in the structure that the Parquet format prescribes. */
  static final String ELEMENT = "element";

  enum Kind {
    STRING,
    TIME,
    INT,
    LONG,
    DOUBLE,
    BOOLEAN,
    LIST,
    MAP,
    STRUCT
  }

  /** Returns the columns of records with a schema of this jar, such as {@code dns.enriched/1}. */
  static Column load(String schema) {
    String file = "/schemas/" + schema.replace('/', '-') + ".json";
    try (InputStream stream = RecordSchema.class.getResourceAsStream(file)) {
      if (stream == null) {
        throw new IllegalArgumentException("no schema " + schema);
      }
      JsonNode tree = new ObjectMapper().readTree(stream);
      Column record = of(schema, 0, tree, tree.path("$defs"));
      Column others = map(OTHER_FIELDS, record.fields.size(), primitive(ELEMENT, 0, Kind.STRING));
      record.fields.put(OTHER_FIELDS, others);
      return struct(schema, 0, record.fields);
    } catch (IOException error) {
      throw new IllegalStateException("an unreadable schema " + schema, error);
    }
  }

  /** Returns the schema of files with records of this column's fields. */
  MessageType message() {
    return new MessageType("record", ((GroupType) type).getFields());
  }

  /** Returns whether the column can hold the parser's value without loss. */
  boolean takes(JsonToken token, JsonParser parser) throws IOException {
    return switch (kind) {
      case STRING, TIME -> token == JsonToken.VALUE_STRING;
      case INT ->
          token == JsonToken.VALUE_NUMBER_INT
              && parser.getNumberType() == JsonParser.NumberType.INT;
      case LONG ->
          token == JsonToken.VALUE_NUMBER_INT
              && parser.getNumberType() != JsonParser.NumberType.BIG_INTEGER;
      case DOUBLE -> token == JsonToken.VALUE_NUMBER_FLOAT || token == JsonToken.VALUE_NUMBER_INT;
      case BOOLEAN -> token == JsonToken.VALUE_TRUE || token == JsonToken.VALUE_FALSE;
      case LIST -> token == JsonToken.START_ARRAY;
      case MAP, STRUCT -> token == JsonToken.START_OBJECT;
    };
  }

  private static Column of(String name, int index, JsonNode written, JsonNode definitions) {
    JsonNode schema = written;
    if (written.has("$ref")) {
      String reference = written.get("$ref").asText();
      schema = definitions.path(reference.substring(reference.lastIndexOf('/') + 1));
    }
    if (schema.has("const")) {
      return primitive(name, index, Kind.STRING);
    }
    String type = schema.path("type").asText();
    return switch (type) {
      case "string" ->
          primitive(
              name,
              index,
              schema.path("format").asText().equals("date-time") ? Kind.TIME : Kind.STRING);
      case "integer" -> primitive(name, index, fitsInt(schema) ? Kind.INT : Kind.LONG);
      case "number" -> primitive(name, index, Kind.DOUBLE);
      case "boolean" -> primitive(name, index, Kind.BOOLEAN);
      case "array" -> list(name, index, of(ELEMENT, 0, schema.get("items"), definitions));
      case "object" -> {
        if (!schema.has("properties")) {
          JsonNode value = schema.path("additionalProperties");
          yield map(name, index, of(ELEMENT, 0, value, definitions));
        }
        Map<String, Column> fields = new HashMap<>();
        for (var property : schema.get("properties").properties()) {
          String key = property.getKey();
          fields.put(key, of(key, fields.size(), property.getValue(), definitions));
        }
        yield struct(name, index, fields);
      }
      default -> throw new IllegalStateException(name + ": no column for the type " + type);
    };
  }

  private static boolean fitsInt(JsonNode schema) {
    return schema.path("maximum").asLong(Long.MAX_VALUE) <= Integer.MAX_VALUE;
  }

  private static Column primitive(String name, int index, Kind kind) {
    Type type =
        switch (kind) {
          case STRING ->
              Types.optional(PrimitiveTypeName.BINARY)
                  .as(LogicalTypeAnnotation.stringType())
                  .named(name);
          case TIME ->
              Types.optional(PrimitiveTypeName.INT64)
                  .as(LogicalTypeAnnotation.timestampType(true, TimeUnit.NANOS))
                  .named(name);
          case INT -> Types.optional(PrimitiveTypeName.INT32).named(name);
          case LONG -> Types.optional(PrimitiveTypeName.INT64).named(name);
          case DOUBLE -> Types.optional(PrimitiveTypeName.DOUBLE).named(name);
          case BOOLEAN -> Types.optional(PrimitiveTypeName.BOOLEAN).named(name);
          default -> throw new IllegalArgumentException(kind.name());
        };
    return new Column(name, index, kind, Map.of(), null, type);
  }

  private static Column list(String name, int index, Column element) {
    Type type = Types.optionalList().element(element.type).named(name);
    return new Column(name, index, Kind.LIST, Map.of(), element, type);
  }

  private static Column map(String name, int index, Column value) {
    Type type =
        Types.optionalMap()
            .key(
                Types.required(PrimitiveTypeName.BINARY)
                    .as(LogicalTypeAnnotation.stringType())
                    .named("key"))
            .value(value.type)
            .named(name);
    return new Column(name, index, Kind.MAP, Map.of(), value, type);
  }

  private static Column struct(String name, int index, Map<String, Column> fields) {
    List<Column> ordered = new ArrayList<>(fields.values());
    ordered.sort((one, other) -> Integer.compare(one.index, other.index));
    Type[] types = ordered.stream().map(Column::type).toArray(Type[]::new);
    Type type = Types.optionalGroup().addFields(types).named(name);
    return new Column(name, index, Kind.STRUCT, fields, null, type);
  }
}
