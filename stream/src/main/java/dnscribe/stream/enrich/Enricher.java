package dnscribe.stream.enrich;

import dnscribe.stream.config.Config;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.CheckedRecord;
import java.io.IOException;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/** Enriches transactions with the data of its task manager. */
final class Enricher extends AbstractStreamOperator<OutputRecord>
    implements OneInputStreamOperator<Transaction, OutputRecord> {
  private final Config settings;
  private transient ReferenceData reference;
  private transient Enrichment enrichment;

  Enricher(Config settings) {
    this.settings = settings;
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
    CheckedRecord record = element.getValue().record();
    output.collect(
        element.replace(
            new OutputRecord(
                Enrichment.SCHEMA,
                record.node(),
                record.eventId(),
                element.getValue().key(),
                enrichment.enrich(record))));
  }
}
