package dnscribe.stream.fleet;

import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/** Makes records for the topic of merged windows. */
final class FleetEncoder extends CountingOperator<FleetWindow, OutputRecord> {
  private static final int RECORDS = 0;
  private static final int WRITTEN = 1;

  /** Creates an encoder; {@code name} is its own in the ledger's state. */
  FleetEncoder(String name, String topic) {
    super(name, "output/" + topic + "/records", "output/" + topic + "/written");
  }

  @Override
  public void processElement(StreamRecord<FleetWindow> element) {
    // Its transaction in Kafka is committed with the checkpoint that has these counters.
    count(RECORDS, 1);
    count(WRITTEN, 1);
    output.collect(element.replace(FleetRecord.of(element.getValue())));
  }
}
