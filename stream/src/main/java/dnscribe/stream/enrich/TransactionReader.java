package dnscribe.stream.enrich;

import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.record.DeadLetter;
import dnscribe.stream.record.MalformedException;
import dnscribe.stream.record.RecordSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.util.OutputTag;

/** Reads transactions and checks them against their schema. What does not fit is a dead letter. */
final class TransactionReader extends CountingOperator<KafkaRecord, Transaction> {
  static final OutputTag<OutputRecord> DEAD_LETTERS =
      new OutputTag<>("dead-letters", TypeInformation.of(OutputRecord.class));
  private static final int RECORDS = 0;
  private static final int MALFORMED = 1;
  private static final int DEAD_LETTER_RECORDS = 2;
  private static final int DEAD_LETTERS_WRITTEN = 3;

  private final boolean writesDeadLetters;
  private transient RecordSchema schema;

  TransactionReader(String topic, String deadLetterTopic, boolean writesDeadLetters) {
    super(
        "reader",
        "input/" + topic + "/records",
        "input/" + topic + "/malformed",
        "output/" + deadLetterTopic + "/records",
        "output/" + deadLetterTopic + "/written");
    this.writesDeadLetters = writesDeadLetters;
  }

  @Override
  public void open() throws Exception {
    super.open();
    schema = RecordSchema.load("dns.transaction/1");
  }

  @Override
  public void processElement(StreamRecord<KafkaRecord> element) {
    KafkaRecord record = element.getValue();
    count(RECORDS, 1);
    try {
      Transaction transaction = new Transaction(record.key(), schema.check(record.value()));
      output.collect(element.replace(transaction));
    } catch (MalformedException error) {
      count(MALFORMED, 1);
      if (writesDeadLetters) {
        count(DEAD_LETTER_RECORDS, 1);
        count(DEAD_LETTERS_WRITTEN, 1);
        OutputRecord letter = DeadLetter.of(record, "transactions", error);
        output.collect(DEAD_LETTERS, new StreamRecord<>(letter));
      }
    }
  }
}
