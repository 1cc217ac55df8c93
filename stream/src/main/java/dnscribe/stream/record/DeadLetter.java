package dnscribe.stream.record;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Arrays;
import java.util.Base64;

/**
 * Dead letters of stage {@code stream}, records of a topic that do not fit their schema, and of
 * stage {@code store}, records that a store refuses.
 */
public final class DeadLetter {
  private static final String SCHEMA = "dns.dlq/1";

  /** Node of these records: no agent wrote them. */
  private static final String NODE = "stream";

  /** Bytes of a malformed record that its dead letter has. */
  private static final int BYTES = 64 * 1024;

  /** Characters of what is wrong, which may repeat the record. */
  private static final int MESSAGE = 4096;

  private static final ObjectMapper JSON = new ObjectMapper();

  private DeadLetter() {}

  /** Returns the dead letter of a record of {@code stream}. It is a function of the record. */
  public static OutputRecord of(KafkaRecord record, String stream, MalformedException error) {
    String id = EventIds.of(record.topic(), record.partition(), record.offset());
    Instant written = Instant.ofEpochMilli(record.timestamp());
    ObjectNode letter = letter(id, written, "stream", error.reason(), stream);
    letter.put("topic", record.topic());
    letter.put("partition", record.partition());
    letter.put("offset", record.offset());
    return finish(letter, id, error.getMessage(), record.value());
  }

  /**
   * Returns the dead letter of a record that a store does not take.
   *
   * @param sink such as {@code clickhouse}
   * @param message of the store
   */
  public static OutputRecord refused(OutputRecord record, String sink, String message) {
    String id = EventIds.of("refused", sink, record.schema(), record.eventId());
    String stream = record.schema().substring("dns.".length(), record.schema().indexOf('/'));
    ObjectNode letter = letter(id, Instant.now(), "store", "refused", stream);
    letter.put("record_event_id", record.eventId());
    return finish(letter, id, sink + ": " + message, record.value());
  }

  private static ObjectNode letter(
      String id, Instant time, String stage, String reason, String stream) {
    ObjectNode letter = JSON.createObjectNode();
    letter.put("schema", SCHEMA);
    letter.put("event_id", id);
    letter.put("ts", time.toString());
    letter.put("node", NODE);
    letter.put("stage", stage);
    letter.put("reason", reason);
    letter.put("stream", stream);
    return letter;
  }

  private static String shortened(String message) {
    return message.length() > MESSAGE ? message.substring(0, MESSAGE) + "…" : message;
  }

  private static OutputRecord finish(ObjectNode letter, String id, String detail, byte[] record) {
    byte[] kept = record.length > BYTES ? Arrays.copyOf(record, BYTES) : record;
    letter.put("detail", shortened(detail));
    letter.put("bytes", Base64.getEncoder().encodeToString(kept));
    letter.put("captured_bytes", kept.length);
    letter.put("record_bytes", record.length);
    try {
      byte[] key = NODE.getBytes(StandardCharsets.UTF_8);
      return new OutputRecord(SCHEMA, NODE, id, key, JSON.writeValueAsBytes(letter));
    } catch (JsonProcessingException impossible) {
      throw new IllegalStateException(impossible);
    }
  }
}
