package dnscribe.stream.enrich;

import dnscribe.stream.config.Config;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.kafka.Topics;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.record.CheckedRecord;
import dnscribe.stream.record.DeadLetter;
import dnscribe.stream.record.MalformedException;
import java.io.IOException;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/** Enriches transactions with the data of its task manager. What cannot be is a dead letter. */
final class Enricher extends CountingOperator<Transaction, OutputRecord> {
  private static final int MALFORMED = 0;
  private static final int DEAD_LETTER_RECORDS = 1;
  private static final int DEAD_LETTERS_WRITTEN = 2;

  private final Config settings;
  private final int largestRecord;
  private transient ReferenceData reference;
  private transient Enrichment enrichment;

  Enricher(Config settings) {
    super(
        "enricher",
        "input/" + settings.kafka().topics().transactions() + "/malformed",
        "output/" + settings.kafka().topics().dlq() + "/records",
        "output/" + settings.kafka().topics().dlq() + "/written");
    this.settings = settings;
    this.largestRecord = settings.kafka().largestRecord();
  }

  @Override
  public void open() throws Exception {
    super.open();
    reference = ReferenceData.acquire(settings);
    enrichment = new Enrichment(reference.geo(), reference.zones(), reference.intel());
  }

  @Override
  public void close() throws Exception {
    if (reference != null) {
      reference.release();
      reference = null;
    }
    super.close();
  }

  @Override
  public void processElement(StreamRecord<Transaction> element) throws IOException {
    reference.check();
    Transaction transaction = element.getValue();
    OutputRecord enriched;
    try {
      enriched = enrich(transaction);
    } catch (MalformedException error) {
      count(MALFORMED, 1);
      count(DEAD_LETTER_RECORDS, 1);
      count(DEAD_LETTERS_WRITTEN, 1);
      OutputRecord letter = DeadLetter.of(transaction.read(), "transactions", error);
      output.collect(RecordReader.DEAD_LETTERS, new StreamRecord<>(letter));
      return;
    }
    output.collect(element.replace(enriched));
  }

  private OutputRecord enrich(Transaction transaction) throws MalformedException, IOException {
    CheckedRecord record = transaction.record();
    byte[] json;
    try {
      json = enrichment.enrich(record);
    } catch (RuntimeException error) {
      throw MalformedException.unreadable(error);
    }
    OutputRecord enriched =
        new OutputRecord(
            Enrichment.SCHEMA, record.node(), record.eventId(), transaction.read().key(), json);
    int size = Topics.size(enriched);
    if (size > largestRecord) {
      throw new MalformedException(
          "too_large", size + " bytes: more than kafka.options." + Config.Kafka.LARGEST_REQUEST);
    }
    return enriched;
  }
}
