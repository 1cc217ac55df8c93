package dnscribe.stream.record;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.io.SerializedString;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.math.BigInteger;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;

/**
 * Checks records against one of the JSON Schemas in {@code schemas/}, and gives the values that a
 * program wants to it, in one pass over the bytes. It knows the keywords that these schemas use;
 * fields that a schema does not name are allowed. It remembers the order of a record's fields for
 * the next one, so it is for one thread.
 *
 * @param <B> what the values are collected in
 */
public final class RecordSchema<B> {
  private static final JsonFactory JSON =
      JsonFactory.builder()
          // Bounds of histograms, which the JDK parses slowly.
          .enable(StreamReadFeature.USE_FAST_DOUBLE_PARSER)
          .build();

  private final String name;
  private final Field<B> root;
  private final Field<B> schemaField;

  /** What is done with a value that fits the schema. */
  @FunctionalInterface
  public interface Setter<B> {
    /** Takes the value at whose last token the parser is: of an object, its closing brace. */
    void set(B collected, JsonParser parser) throws IOException, MalformedException;
  }

  /** Names of fields of the record itself that it must not have. */
  private final Set<String> reserved;

  private RecordSchema(String name, Field<B> root, Set<String> reserved) {
    this.name = name;
    this.root = root;
    this.reserved = reserved;
    this.schemaField = root.properties.get("schema");
  }

  /**
   * Reads a schema of this jar.
   *
   * @param name such as {@code dns.transaction/1}
   * @param setters by the paths of the values that are wanted, such as {@code answers[].type}; an
   *     empty path is that of the record itself
   */
  public static <B> RecordSchema<B> load(String name, Map<String, Setter<B>> setters) {
    return load(name, setters, Set.of());
  }

  /**
   * As {@link #load(String, Map)}, and refuses records that have one of the fields {@code
   * reserved}, of which the schema knows nothing.
   */
  public static <B> RecordSchema<B> load(
      String name, Map<String, Setter<B>> setters, Set<String> reserved) {
    String file = "/schemas/" + name.replace('/', '-') + ".json";
    try (InputStream stream = RecordSchema.class.getResourceAsStream(file)) {
      if (stream == null) {
        throw new IllegalArgumentException("no schema " + name);
      }
      JsonNode schema = new ObjectMapper().readTree(stream);
      Field<B> root = new Field<>("", schema, schema.path("$defs"), 0, setters);
      return new RecordSchema<>(name, root, reserved);
    } catch (IOException error) {
      throw new IllegalStateException("an unreadable schema " + name, error);
    }
  }

  /**
   * Checks a record, and gives its values to the setters.
   *
   * @throws MalformedException if it is not a record of this schema
   */
  public void read(byte[] json, B collected) throws MalformedException {
    Encoding.check(json);
    try (JsonParser parser = JSON.createParser(json)) {
      if (parser.nextToken() != JsonToken.START_OBJECT) {
        throw new MalformedException("json", "not an object");
      }
      object(parser, root, collected);
      if (parser.nextToken() != null) {
        throw new MalformedException("json", "more than one value");
      }
    } catch (JsonProcessingException error) {
      throw new MalformedException("json", error.getOriginalMessage());
    } catch (IOException error) {
      throw new MalformedException("json", String.valueOf(error.getMessage()));
    }
  }

  private void object(JsonParser parser, Field<B> schema, B collected)
      throws IOException, MalformedException {
    long required = 0;
    Field<B> last = null;
    while (true) {
      // Programs write fields in one order: the name is compared, and neither read nor looked up.
      Field<B> expected = last == null ? schema.first : last.next;
      Field<B> field = expected;
      if (expected == null || !parser.nextFieldName(expected.name)) {
        JsonToken found = expected == null ? parser.nextToken() : parser.currentToken();
        if (found != JsonToken.FIELD_NAME) {
          break;
        }
        field = schema.properties.get(parser.currentName());
        if (field != null && last == null) {
          schema.first = field;
        } else if (field != null) {
          last.next = field;
        }
      }
      if (field == null) {
        if (schema == root && reserved.contains(parser.currentName())) {
          throw new MalformedException("field", "is not the writer's to add" + place(parser));
        }
        field = schema.additional;
      } else {
        last = field;
        if ((required & field.requiredBit) != 0) {
          throw new MalformedException("field", "comes twice" + place(parser));
        }
        required |= field.requiredBit;
      }
      JsonToken token = parser.nextToken();
      if (field == null) {
        parser.skipChildren();
        continue;
      }
      if (field == schemaField && !name.equals(parser.getText())) {
        throw new MalformedException("schema", "not a record of " + name);
      }
      value(parser, token, field, collected);
    }
    if (required != schema.requiredBits) {
      throw new MalformedException("missing_field", "a required field is missing" + place(parser));
    }
    if (schema.setter != null) {
      schema.setter.set(collected, parser);
    }
  }

  private void value(JsonParser parser, JsonToken token, Field<B> field, B collected)
      throws IOException, MalformedException {
    boolean fits =
        field.accepts(token)
            && switch (token) {
              case VALUE_STRING -> field.fits(parser);
              case VALUE_NUMBER_INT, VALUE_NUMBER_FLOAT -> field.inRange(parser);
              default -> true;
            };
    if (!fits) {
      throw new MalformedException("field", "not what the schema says" + place(parser));
    }
    if (token == JsonToken.START_OBJECT) {
      object(parser, field, collected);
      return;
    }
    if (token == JsonToken.START_ARRAY) {
      for (JsonToken next = parser.nextToken();
          next != JsonToken.END_ARRAY;
          next = parser.nextToken()) {
        if (field.items == null) {
          parser.skipChildren();
        } else {
          value(parser, next, field.items, collected);
        }
      }
    }
    if (field.setter != null) {
      field.setter.set(collected, parser);
    }
  }

  private static String place(JsonParser parser) {
    return " at " + parser.getParsingContext().pathAsPointer();
  }

  /** A schema or a part of one. */
  private static final class Field<B> {
    final Map<String, Field<B>> properties = new HashMap<>();
    final SerializedString name;

    /** The property that came first in the last object. */
    Field<B> first;

    /** The property that came after this one when it came last. */
    Field<B> next;

    /** Bit of this field among those that its object must have; 0 if it may be absent. */
    final long requiredBit;

    /** Bits of all fields that an object must have. */
    final long requiredBits;

    /** Takes the value; null if it is only checked. */
    final Setter<B> setter;

    /** Tokens with which a value begins, as the schema's types say; empty for any. */
    private final Set<JsonToken> tokens = EnumSet.noneOf(JsonToken.class);

    private final Set<String> values = new HashSet<>();
    private final boolean isTime;
    private final boolean isEventId;
    private final boolean isNumber;
    private final long minimum;

    /** Greatest value of an integer. */
    private final BigInteger maximum;

    /** The greatest value that is a long. */
    private final long longMaximum;

    final Field<B> items;
    final Field<B> additional;

    Field(
        String path,
        JsonNode written,
        JsonNode definitions,
        long requiredBit,
        Map<String, Setter<B>> setters) {
      this.name = new SerializedString(path.substring(path.lastIndexOf('.') + 1));
      this.setter = setters.get(path);
      this.requiredBit = requiredBit;
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
      Map<String, Long> required = new HashMap<>();
      schema.path("required").forEach(one -> required.put(one.asText(), 1L << required.size()));
      if (required.size() >= Long.SIZE) {
        throw new IllegalStateException("more required fields than bits of a long: " + path);
      }
      requiredBits = (1L << required.size()) - 1;
      for (var property : schema.path("properties").properties()) {
        String key = property.getKey();
        String inner = path.isEmpty() ? key : path + "." + key;
        properties.put(
            key,
            new Field<>(
                inner, property.getValue(), definitions, required.getOrDefault(key, 0L), setters));
      }
      isTime = schema.path("format").asText().equals("date-time");
      isEventId = schema.path("pattern").asText().equals("^[0-9a-f]{32}$");
      if (schema.has("pattern") && !isEventId) {
        throw new IllegalStateException("a pattern that this program does not know: " + schema);
      }
      isNumber = tokens.contains(JsonToken.VALUE_NUMBER_FLOAT);
      if (isNumber && (schema.has("minimum") || schema.has("maximum"))) {
        throw new IllegalStateException("a bound that this program does not know: " + schema);
      }
      String format = schema.path("format").asText();
      minimum = Math.max(minimum(format), schema.path("minimum").asLong(Long.MIN_VALUE));
      maximum = schema.has("maximum") ? schema.get("maximum").bigIntegerValue() : maximum(format);
      longMaximum = maximum.min(BigInteger.valueOf(Long.MAX_VALUE)).longValue();
      items =
          schema.has("items")
              ? new Field<>(path + "[]", schema.get("items"), definitions, 0, setters)
              : null;
      JsonNode more = schema.path("additionalProperties");
      additional = more.isObject() ? new Field<>(path + ".*", more, definitions, 0, setters) : null;
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
      if (isNumber) {
        // 1e999 is JSON, and as a sum's part it would be no number.
        return Double.isFinite(parser.getDoubleValue());
      }
      if (parser.getNumberType() == JsonParser.NumberType.BIG_INTEGER) {
        BigInteger value = parser.getBigIntegerValue();
        return value.signum() > 0 && value.compareTo(maximum) <= 0;
      }
      long value = parser.getLongValue();
      return minimum <= value && value <= longMaximum;
    }

    /** Returns the least value of a type such as {@code int32}. */
    private static long minimum(String format) {
      return switch (format) {
        case "int32" -> Integer.MIN_VALUE;
        case "uint8", "uint16", "uint32", "uint64", "uint" -> 0;
        default -> Long.MIN_VALUE;
      };
    }

    /** Returns the greatest value of a type: columns of stores wrap what is beyond. */
    private static BigInteger maximum(String format) {
      int bits =
          switch (format) {
            case "uint8" -> 8;
            case "uint16" -> 16;
            case "int32" -> 31;
            case "uint32" -> 32;
            case "uint64", "uint" -> 64;
            default -> 63;
          };
      return BigInteger.ONE.shiftLeft(bits).subtract(BigInteger.ONE);
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
