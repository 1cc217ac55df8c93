package dnscribe.stream.enrich;

import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Makes the {@code dns.enriched/1} of a transaction. The text of the transaction's fields is copied
 * as it is, so that no field changes on the way; what is added follows it.
 */
final class Enricher extends CountingOperator<Transaction, OutputRecord> {
  static final String SCHEMA = "dns.enriched/1";
  private static final byte[] SCHEMA_JSON = ('"' + SCHEMA + '"').getBytes(StandardCharsets.UTF_8);
  private static final int RECORDS = 0;
  private static final int WRITTEN = 1;

  private final boolean counts;

  /** Creates an operator that counts its records as those of {@code topic}, if they go there. */
  Enricher(String topic, boolean counts) {
    super("enricher", "output/" + topic + "/records", "output/" + topic + "/written");
    this.counts = counts;
  }

  @Override
  public void processElement(StreamRecord<Transaction> element) {
    Transaction transaction = element.getValue();
    if (counts) {
      // Its transaction in Kafka is committed with the checkpoint that has these counters.
      count(RECORDS, 1);
      count(WRITTEN, 1);
    }
    byte[] enriched = enrich(transaction);
    output.collect(
        element.replace(
            new OutputRecord(
                SCHEMA, transaction.node(), transaction.eventId(), transaction.key(), enriched)));
  }

  private static byte[] enrich(Transaction transaction) {
    byte[] json = transaction.json();
    ByteArrayOutputStream out = new ByteArrayOutputStream(json.length + 80);
    out.write(json, 0, transaction.schemaStart());
    out.writeBytes(SCHEMA_JSON);
    out.write(json, transaction.schemaEnd(), transaction.end() - transaction.schemaEnd());
    if (transaction.qname() != null) {
      StringBuilder fields = new StringBuilder();
      NameStatistics.of(transaction.qname(), transaction.zone()).append(fields);
      out.writeBytes(fields.toString().getBytes(StandardCharsets.US_ASCII));
    }
    out.write('}');
    return out.toByteArray();
  }
}
