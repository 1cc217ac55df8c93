package dnscribe.stream.record;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;

/**
 * A record that fits its schema, with what every record has.
 *
 * @param json its text
 * @param qname its query name, or null
 * @param zone its zone, or null
 * @param schemaStart offset of the value of the field {@code schema}, with its quotes
 * @param schemaEnd end of that value
 * @param end offset of the last brace
 */
public record CheckedRecord(
    byte[] json,
    String eventId,
    String node,
    String qname,
    String zone,
    int schemaStart,
    int schemaEnd,
    int end) {

  /** Collects the fields on the first level. */
  static final class Builder {
    private final byte[] json;
    private String eventId;
    private String node;
    private String qname;
    private String zone;
    private int schemaStart;
    private int schemaEnd;
    private int end;

    Builder(byte[] json) {
      this.json = json;
    }

    void field(String key, JsonToken token, JsonParser parser) throws IOException {
      if (token != JsonToken.VALUE_STRING) {
        return;
      }
      switch (key) {
        case "event_id" -> eventId = parser.getText();
        case "node" -> node = parser.getText();
        case "qname" -> qname = parser.getText();
        case "zone" -> zone = parser.getText();
        case "schema" -> {
          schemaStart = (int) parser.currentTokenLocation().getByteOffset();
          parser.finishToken();
          schemaEnd = (int) parser.currentLocation().getByteOffset();
        }
        default -> {}
      }
    }

    void end(long offset) {
      end = (int) offset;
    }

    CheckedRecord build() {
      return new CheckedRecord(json, eventId, node, qname, zone, schemaStart, schemaEnd, end);
    }
  }
}
