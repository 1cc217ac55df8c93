package dnscribe.stream.record;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/**
 * A record that fits its schema. Fields that it does not have are null.
 *
 * @param json its text
 * @param ts its time
 * @param qname its query name
 * @param zone its zone
 * @param clientIp address of the client
 * @param serverIp address of the server
 * @param answers its answers; empty without any
 * @param schemaStart offset of the value of the field {@code schema}, with its quotes
 * @param schemaEnd end of that value
 * @param end offset of the last brace
 */
public record CheckedRecord(
    byte[] json,
    String eventId,
    String ts,
    String node,
    String qname,
    String zone,
    String clientIp,
    String serverIp,
    Answer[] answers,
    int schemaStart,
    int schemaEnd,
    int end) {

  /**
   * A resource record of the answer section.
   *
   * @param type mnemonic of its type
   * @param data in the type's text form
   */
  public record Answer(String type, String data) {}

  /** Collects the fields while a record is parsed. */
  static final class Builder {
    private static final Answer[] NONE = {};

    private final byte[] json;
    private final List<Answer> answers = new ArrayList<>();
    private String eventId;
    private String ts;
    private String node;
    private String qname;
    private String zone;
    private String clientIp;
    private String serverIp;
    private String answerType;
    private int schemaStart;
    private int schemaEnd;
    private int end;

    Builder(byte[] json) {
      this.json = json;
    }

    /** Takes a field on the first level. */
    void field(String key, JsonToken token, JsonParser parser) throws IOException {
      if (token != JsonToken.VALUE_STRING) {
        return;
      }
      switch (key) {
        case "event_id" -> eventId = parser.getText();
        case "ts" -> ts = parser.getText();
        case "node" -> node = parser.getText();
        case "qname" -> qname = parser.getText();
        case "zone" -> zone = parser.getText();
        case "client_ip" -> clientIp = parser.getText();
        case "server_ip" -> serverIp = parser.getText();
        case "schema" -> {
          schemaStart = (int) parser.currentTokenLocation().getByteOffset();
          parser.finishToken();
          schemaEnd = (int) parser.currentLocation().getByteOffset();
        }
        default -> {}
      }
    }

    /** Takes a field of an answer. */
    void answerField(String key, JsonToken token, JsonParser parser) throws IOException {
      if (token != JsonToken.VALUE_STRING) {
        return;
      }
      if (key.equals("type")) {
        answerType = parser.getText();
      } else if (key.equals("data") && answerType != null) {
        // The agent writes the type first.
        answers.add(new Answer(answerType, parser.getText()));
        answerType = null;
      }
    }

    void end(long offset) {
      end = (int) offset;
    }

    CheckedRecord build() {
      return new CheckedRecord(
          json,
          eventId,
          ts,
          node,
          qname,
          zone,
          clientIp,
          serverIp,
          answers.isEmpty() ? NONE : answers.toArray(NONE),
          schemaStart,
          schemaEnd,
          end);
    }
  }
}
