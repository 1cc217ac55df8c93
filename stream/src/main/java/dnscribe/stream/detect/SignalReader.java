package dnscribe.stream.detect;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.io.IOException;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/** Reads changes, or nodes' and probes' alerts. Those that cannot be read are counted. */
final class SignalReader extends CountingOperator<KafkaRecord, Signal> {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int UNREADABLE = 0;

  private final boolean readsChanges;

  SignalReader(String name, boolean readsChanges) {
    super(name, "detect/unreadable");
    this.readsChanges = readsChanges;
  }

  @Override
  public void processElement(StreamRecord<KafkaRecord> element) {
    Signal signal;
    try {
      signal = read(JSON.readTree(element.getValue().value()));
    } catch (IOException | RuntimeException error) {
      count(UNREADABLE, 1);
      return;
    }
    if (signal != null) {
      output.collect(new StreamRecord<>(signal, signal.time()));
    }
  }

  /** Returns what the engine reads of a record; null for alerts of the fleet: they are its own. */
  private Signal read(JsonNode record) throws IOException {
    if (!record.hasNonNull(readsChanges ? "event_id" : "alert_id")) {
      throw new IOException("no id");
    }
    if (readsChanges) {
      return Signal.of(Change.of(record));
    }
    return switch (record.path("scope").asText("node")) {
      case "node" -> Signal.of(NodeAlert.of(record));
      case "probe" -> Signal.of(ProbeAlert.of(record));
      default -> null;
    };
  }
}
