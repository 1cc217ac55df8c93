package dnscribe.stream.record;

import com.fasterxml.jackson.core.JsonParser;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

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

  /** Fields that are collected, by their names in capitals; only texts are. */
  enum Use {
    NONE,
    SCHEMA,
    EVENT_ID,
    TS,
    NODE,
    QNAME,
    ZONE,
    CLIENT_IP,
    SERVER_IP,
    TYPE,
    DATA;

    /** Returns the use of a field. */
    static Use of(String name) {
      for (Use use : values()) {
        if (use.name().toLowerCase(Locale.ROOT).equals(name)) {
          return use;
        }
      }
      return NONE;
    }
  }

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

    /** Takes a text of the first level. */
    void field(Use use, JsonParser parser) throws IOException {
      switch (use) {
        case EVENT_ID -> eventId = parser.getText();
        case TS -> ts = parser.getText();
        case NODE -> node = parser.getText();
        case QNAME -> qname = parser.getText();
        case ZONE -> zone = parser.getText();
        case CLIENT_IP -> clientIp = parser.getText();
        case SERVER_IP -> serverIp = parser.getText();
        case SCHEMA -> {
          schemaStart = (int) parser.currentTokenLocation().getByteOffset();
          parser.finishToken();
          schemaEnd = (int) parser.currentLocation().getByteOffset();
        }
        default -> {}
      }
    }

    /** Takes a text of an answer. */
    void answerField(Use use, JsonParser parser) throws IOException {
      if (use == Use.TYPE) {
        answerType = parser.getText();
      } else if (use == Use.DATA && answerType != null) {
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
