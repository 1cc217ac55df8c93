package dnscribe.stream.enrich;

import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.record.DeadLetter;
import dnscribe.stream.record.MalformedException;
import dnscribe.stream.record.RecordChecker;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Checks the records of a compacted topic: what {@link ReferenceData} cannot use is a dead letter.
 * It has one subtask, as each record must be counted once; the tables are in every task manager.
 */
final class ReferenceReader extends CountingOperator<KafkaRecord, OutputRecord> {
  private static final int RECORDS = 0;
  private static final int UNIQUE = 1;
  private static final int MALFORMED = 2;
  private static final int DEAD_LETTERS = 3;
  private static final int DEAD_LETTERS_WRITTEN = 4;

  private final String stream;
  private final String schemaName;
  private transient RecordChecker schema;
  private transient ReferenceTable table;

  /**
   * Creates a reader.
   *
   * @param stream {@code zones} or {@code intel}
   */
  ReferenceReader(String stream, String topic, String deadLetterTopic) {
    super(
        stream,
        "input/" + topic + "/records",
        "input/" + topic + "/unique",
        "input/" + topic + "/malformed",
        "output/" + deadLetterTopic + "/records",
        "output/" + deadLetterTopic + "/written");
    this.stream = stream;
    this.schemaName = stream.equals("zones") ? "dns.zone/1" : "dns.intel/1";
  }

  @Override
  public void open() throws Exception {
    super.open();
    schema = new RecordChecker(schemaName);
    table = stream.equals("zones") ? new ZoneTable() : new IntelTable(1);
  }

  @Override
  public void processElement(StreamRecord<KafkaRecord> element) {
    KafkaRecord record = element.getValue();
    countRead(RECORDS, record);
    try {
      if (record.value().length > 0) {
        String key = ReferenceData.apply(table, schema, record.key(), record.value());
        // It checks records and keeps none.
        table.remove(key);
      }
      count(UNIQUE, 1);
    } catch (MalformedException error) {
      count(MALFORMED, 1);
      count(DEAD_LETTERS, 1);
      count(DEAD_LETTERS_WRITTEN, 1);
      output.collect(element.replace(DeadLetter.of(record, stream, error)));
    }
  }
}
