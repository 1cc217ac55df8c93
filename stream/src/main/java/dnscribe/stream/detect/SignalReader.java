package dnscribe.stream.detect;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.io.IOException;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/** Reads changes, or nodes' alerts, for the engine. Those that cannot be read are counted. */
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
      JsonNode record = JSON.readTree(element.getValue().value());
      if (readsChanges) {
        Change change = Change.of(record);
        signal = new Signal(change.time(), null, change, null);
      } else if (record.path("scope").asText("node").equals("node")) {
        NodeAlert alert = NodeAlert.of(record);
        signal = new Signal(alert.time(), null, null, alert);
      } else {
        // Fleet and probe alerts are no effects of another alert.
        return;
      }
      if ((signal.change() != null && signal.change().eventId() == null)
          || (signal.nodeAlert() != null && signal.nodeAlert().alertId() == null)) {
        throw new IOException("no id");
      }
    } catch (IOException | RuntimeException error) {
      count(UNREADABLE, 1);
      return;
    }
    output.collect(new StreamRecord<>(signal, signal.time()));
  }
}
