package dnscribe.stream.record;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import dnscribe.stream.record.RecordSchema.Setter;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

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
 * @param masking which of its values are not the real ones
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
    Masking masking,
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

  /**
   * How classes of values are masked: {@code truncate}, {@code hash} or {@code drop}; null if they
   * are the real ones.
   */
  public record Masking(String qname, String client, String server, String answers) {}

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
    private String qnameMasking;
    private String clientMasking;
    private String serverMasking;
    private String answersMasking;
    private String answerType;
    private String answerData;
    private int schemaStart;
    private int schemaEnd;
    private int end;

    Builder(byte[] json) {
      this.json = json;
    }

    /** Returns the setters of the fields that a schema has. */
    static Map<String, Setter<Builder>> setters() {
      return Map.ofEntries(
          Map.entry("", (record, parser) -> record.end = start(parser)),
          Map.entry("schema", Builder::schema),
          Map.entry("event_id", (record, parser) -> record.eventId = text(parser)),
          Map.entry("ts", (record, parser) -> record.ts = text(parser)),
          Map.entry("node", (record, parser) -> record.node = text(parser)),
          Map.entry("qname", (record, parser) -> record.qname = text(parser)),
          Map.entry("zone", (record, parser) -> record.zone = text(parser)),
          Map.entry("client_ip", (record, parser) -> record.clientIp = text(parser)),
          Map.entry("server_ip", (record, parser) -> record.serverIp = text(parser)),
          Map.entry("masking.qname", (record, parser) -> record.qnameMasking = text(parser)),
          Map.entry("masking.client", (record, parser) -> record.clientMasking = text(parser)),
          Map.entry("masking.server", (record, parser) -> record.serverMasking = text(parser)),
          Map.entry("masking.answers", (record, parser) -> record.answersMasking = text(parser)),
          Map.entry("answers[].type", (record, parser) -> record.answerType = text(parser)),
          Map.entry("answers[].data", (record, parser) -> record.answerData = text(parser)),
          Map.entry("answers[]", (record, parser) -> record.endAnswer()));
    }

    private static String text(JsonParser parser) throws IOException {
      return parser.currentToken() == JsonToken.VALUE_STRING ? parser.getText() : null;
    }

    private static int start(JsonParser parser) {
      return (int) parser.currentTokenLocation().getByteOffset();
    }

    private void schema(JsonParser parser) throws IOException {
      schemaStart = start(parser);
      parser.finishToken();
      schemaEnd = (int) parser.currentLocation().getByteOffset();
    }

    private void endAnswer() {
      if (answerType != null && answerData != null) {
        answers.add(new Answer(answerType, answerData));
      }
      answerType = null;
      answerData = null;
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
          new Masking(qnameMasking, clientMasking, serverMasking, answersMasking),
          schemaStart,
          schemaEnd,
          end);
    }
  }
}
