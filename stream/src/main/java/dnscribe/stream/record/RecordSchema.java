package dnscribe.stream.record;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dnscribe.stream.record.CheckedRecord.Use;
import java.io.IOException;
import java.io.InputStream;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;

/**
 * Checks records against one of the JSON Schemas in {@code schemas/}, in one pass over the bytes.
 * It knows the keywords that these use; fields that a schema does not name are allowed.
 */
public final class RecordSchema {
  private static final JsonFactory JSON = new JsonFactory();
  private final String name;
  private final Field root;

  /** An answer of a transaction; null in other schemas. */
  private final Field answer;

  private RecordSchema(String name, Field root) {
    this.name = name;
    this.root = root;
    Field answers = root.properties.get("answers");
    this.answer = answers == null ? null : answers.items;
  }

  /** Reads a schema of this jar, such as {@code dns.transaction/1}. */
  public static RecordSchema load(String name) {
    String file = "/schemas/" + name.replace('/', '-') + ".json";
    try (InputStream stream = RecordSchema.class.getResourceAsStream(file)) {
      if (stream == null) {
        throw new IllegalArgumentException("no schema " + name);
      }
      JsonNode schema = new ObjectMapper().readTree(stream);
      return new RecordSchema(name, new Field(Use.NONE, schema, schema.path("$defs"), false));
    } catch (IOException error) {
      throw new IllegalStateException("an unreadable schema " + name, error);
    }
  }

  /**
   * Checks a record.
   *
   * @throws MalformedException if it is not a record of this schema
   */
  public CheckedRecord check(byte[] json) throws MalformedException {
    try (JsonParser parser = JSON.createParser(json)) {
      return check(parser, json);
    } catch (JsonProcessingException error) {
      throw new MalformedException("json", error.getOriginalMessage());
    } catch (IOException error) {
      throw new MalformedException("json", String.valueOf(error.getMessage()));
    }
  }

  /**
   * Checks a record that has been parsed.
   *
   * @throws MalformedException if it is not a record of this schema
   */
  public void check(JsonNode record) throws MalformedException {
    try (JsonParser parser = record.traverse()) {
      check(parser, null);
    } catch (IOException error) {
      throw new MalformedException("json", String.valueOf(error.getMessage()));
    }
  }

  private CheckedRecord check(JsonParser parser, byte[] json)
      throws IOException, MalformedException {
    CheckedRecord.Builder found = new CheckedRecord.Builder(json);
    if (parser.nextToken() != JsonToken.START_OBJECT) {
      throw new MalformedException("json", "not an object");
    }
    object(parser, root, found);
    found.end(parser.currentTokenLocation().getByteOffset());
    if (parser.nextToken() != null) {
      throw new MalformedException("json", "more than one value");
    }
    return found.build();
  }

  private void object(JsonParser parser, Field schema, CheckedRecord.Builder found)
      throws IOException, MalformedException {
    int required = 0;
    for (String key = parser.nextFieldName(); key != null; key = parser.nextFieldName()) {
      JsonToken token = parser.nextToken();
      Field field = schema.properties.get(key);
      if (field == null) {
        field = schema.additional;
      } else if (field.isRequired) {
        required++;
      }
      if (schema == root) {
        if (field != null && field.use == Use.SCHEMA && !name.equals(parser.getText())) {
          throw new MalformedException("schema", "not a record of " + name);
        }
        if (field != null && token == JsonToken.VALUE_STRING) {
          found.field(field.use, parser);
        }
      } else if (schema == answer && field != null && token == JsonToken.VALUE_STRING) {
        found.answerField(field.use, parser);
      }
      if (field == null) {
        parser.skipChildren();
      } else {
        value(parser, token, field, found);
      }
    }
    if (required < schema.requiredCount) {
      throw new MalformedException("missing_field", "a required field is missing" + place(parser));
    }
  }

  private void value(JsonParser parser, JsonToken token, Field field, CheckedRecord.Builder found)
      throws IOException, MalformedException {
    boolean fits =
        field.accepts(token)
            && switch (token) {
              case VALUE_STRING -> field.fits(parser);
              case VALUE_NUMBER_INT -> field.inRange(parser);
              default -> true;
            };
    if (!fits) {
      throw new MalformedException("field", "not what the schema says" + place(parser));
    }
    if (token == JsonToken.START_OBJECT) {
      object(parser, field, found);
    } else if (token == JsonToken.START_ARRAY) {
      for (JsonToken next = parser.nextToken();
          next != JsonToken.END_ARRAY;
          next = parser.nextToken()) {
        if (field.items == null) {
          parser.skipChildren();
        } else {
          value(parser, next, field.items, found);
        }
      }
    }
  }

  private static String place(JsonParser parser) {
    return " at " + parser.getParsingContext().pathAsPointer();
  }

  /** A schema or a part of one. */
  private static final class Field {
    final Map<String, Field> properties = new HashMap<>();
    final boolean isRequired;
    final int requiredCount;

    /** What the value is needed for besides the check. */
    final Use use;

    /** Tokens with which a value begins, as the schema's types say; empty for any. */
    private final Set<JsonToken> tokens = EnumSet.noneOf(JsonToken.class);

    private final Set<String> values = new HashSet<>();
    private final boolean isTime;
    private final boolean isEventId;
    private final long minimum;
    private final long maximum;
    final Field items;
    final Field additional;

    Field(Use use, JsonNode written, JsonNode definitions, boolean isRequired) {
      this.use = use;
      this.isRequired = isRequired;
      JsonNode schema = written;
      if (schema.has("$ref")) {
        String reference = schema.get("$ref").asText();
        schema = definitions.path(reference.substring(reference.lastIndexOf('/') + 1));
      }
      JsonNode type = schema.path("type");
      if (type.isTextual()) {
        tokens.addAll(tokens(type.asText()));
      }
      type.forEach(one -> tokens.addAll(tokens(one.asText())));
      if (schema.has("const")) {
        tokens.add(JsonToken.VALUE_STRING);
        values.add(schema.get("const").asText());
      }
      schema.path("enum").forEach(one -> values.add(one.asText()));
      Set<String> required = new HashSet<>();
      schema.path("required").forEach(one -> required.add(one.asText()));
      requiredCount = required.size();
      for (var property : schema.path("properties").properties()) {
        String key = property.getKey();
        properties.put(
            key, new Field(Use.of(key), property.getValue(), definitions, required.contains(key)));
      }
      isTime = schema.path("format").asText().equals("date-time");
      isEventId = schema.path("pattern").asText().equals("^[0-9a-f]{32}$");
      if (schema.has("pattern") && !isEventId) {
        throw new IllegalStateException("a pattern that this program does not know: " + schema);
      }
      minimum = schema.path("minimum").asLong(Long.MIN_VALUE);
      maximum = schema.path("maximum").asLong(Long.MAX_VALUE);
      items =
          schema.has("items") ? new Field(Use.NONE, schema.get("items"), definitions, false) : null;
      JsonNode more = schema.path("additionalProperties");
      additional = more.isObject() ? new Field(Use.NONE, more, definitions, false) : null;
    }

    private static Set<JsonToken> tokens(String type) {
      return switch (type) {
        case "object" -> EnumSet.of(JsonToken.START_OBJECT);
        case "array" -> EnumSet.of(JsonToken.START_ARRAY);
        case "string" -> EnumSet.of(JsonToken.VALUE_STRING);
        case "integer" -> EnumSet.of(JsonToken.VALUE_NUMBER_INT);
        case "number" -> EnumSet.of(JsonToken.VALUE_NUMBER_INT, JsonToken.VALUE_NUMBER_FLOAT);
        case "boolean" -> EnumSet.of(JsonToken.VALUE_TRUE, JsonToken.VALUE_FALSE);
        case "null" -> EnumSet.of(JsonToken.VALUE_NULL);
        default ->
            throw new IllegalStateException("a type that this program does not know: " + type);
      };
    }

    boolean accepts(JsonToken token) {
      return tokens.isEmpty() || tokens.contains(token);
    }

    boolean fits(JsonParser parser) throws IOException {
      if (isEventId) {
        return isHex(parser, 32);
      }
      if (isTime) {
        return Time.isRfc3339(
            parser.getTextCharacters(), parser.getTextOffset(), parser.getTextLength());
      }
      return values.isEmpty() || values.contains(parser.getText());
    }

    boolean inRange(JsonParser parser) throws IOException {
      if (parser.getNumberType() == JsonParser.NumberType.BIG_INTEGER) {
        return maximum == Long.MAX_VALUE && parser.getBigIntegerValue().signum() > 0;
      }
      long value = parser.getLongValue();
      return minimum <= value && value <= maximum;
    }

    private static boolean isHex(JsonParser parser, int length) throws IOException {
      char[] text = parser.getTextCharacters();
      int offset = parser.getTextOffset();
      if (parser.getTextLength() != length) {
        return false;
      }
      for (int i = offset; i < offset + length; i++) {
        char c = text[i];
        if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) {
          return false;
        }
      }
      return true;
    }
  }
}
