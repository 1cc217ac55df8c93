package dnscribe.stream.fleet;

import dnscribe.stream.config.Config;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.kafka.Topics;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.record.DeadLetter;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/** Makes records for the topic of merged windows. */
final class FleetEncoder extends CountingOperator<FleetWindow, OutputRecord> {
  private static final int RECORDS = 0;
  private static final int WRITTEN = 1;
  private static final int REFUSED = 2;
  private static final int DEAD_LETTER_RECORDS = 3;
  private static final int DEAD_LETTERS_WRITTEN = 4;

  private final String topic;
  private final String refusal;
  private final int largestRecord;

  /** Creates an encoder; {@code name} is its own in the ledger's state. */
  FleetEncoder(String name, String topic, Config.Kafka kafka) {
    super(
        name,
        "output/" + topic + "/records",
        "output/" + topic + "/written",
        "output/" + topic + "/dropped/refused",
        "output/" + kafka.topics().dlq() + "/records",
        "output/" + kafka.topics().dlq() + "/written");
    this.topic = topic;
    this.refusal = "more bytes than kafka.options." + Config.Kafka.LARGEST_REQUEST;
    this.largestRecord = kafka.largestRecord();
  }

  @Override
  public void processElement(StreamRecord<FleetWindow> element) {
    // Its transaction in Kafka is committed with the checkpoint that has these counters.
    count(RECORDS, 1);
    OutputRecord record = FleetRecord.of(element.getValue());
    if (Topics.size(record) > largestRecord) {
      count(REFUSED, 1);
      count(DEAD_LETTER_RECORDS, 1);
      count(DEAD_LETTERS_WRITTEN, 1);
      OutputRecord letter = DeadLetter.refused(record, topic, refusal);
      output.collect(RecordReader.DEAD_LETTERS, new StreamRecord<>(letter));
      return;
    }
    count(WRITTEN, 1);
    output.collect(element.replace(record));
  }
}
