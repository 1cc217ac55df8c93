package dnscribe.stream.enrich;

import static dnscribe.stream.Records.bytes;
import static dnscribe.stream.Records.text;
import static dnscribe.stream.Records.transaction;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import dnscribe.stream.Damage;
import dnscribe.stream.config.Config;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.record.RecordChecker;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Damaged transactions through the job: each is a record that fits its schema, or a dead letter.
 */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class DamagedTransactionsTest {
  private static final int ATTEMPTS = 20_000;
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final RecordChecker ENRICHED = new RecordChecker("dns.enriched/1");

  @Test
  void isEnrichedOrADeadLetter() throws Exception {
    List<byte[]> records = new ArrayList<>(Damage.goldens("lab.ndjson", "dns.transaction/1"));
    records.add(transaction(1));
    Damage damage = new Damage(1);
    List<byte[]> damaged = new ArrayList<>();
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      damaged.add(damage.json(damage.one(records)));
    }
    int letters = letters(damaged).size();
    assertThat(letters).isBetween(ATTEMPTS / 10, ATTEMPTS * 9 / 10);
  }

  @ParameterizedTest
  @CsvSource({
    "'\"qname\":\"www.example.com\"','\"qname\":\"%s\"',field",
    "'\"retries\":0','\"retries\":0,\"name\":{\"label_count\":9}',field",
    "'\"retries\":0','\"retries\":0,\"intel\":[]',field",
    "'\"retries\":0','\"retries\":0,\"labels\":{\"a\":\"%s%s%s%s%s%s%s%s\"}',too_large",
  })
  void whatWouldNotFitIsADeadLetter(String part, String replacement, String reason)
      throws Exception {
    String json =
        text(transaction(1)).replace(part, replacement.replace("%s", "x".repeat(200_000)));
    List<OutputRecord> letters = letters(List.of(bytes(json)));
    assertThat(letters).hasSize(1);
    assertThat(JSON.readTree(letters.get(0).value()).path("reason").asText()).isEqualTo(reason);
  }

  /** Returns the dead letters of these records, and checks the others. */
  private static List<OutputRecord> letters(List<byte[]> values) throws Exception {
    List<OutputRecord> letters = new ArrayList<>();
    try (var reader = new OneInputStreamOperatorTestHarness<>(EnrichJob.reader(config().kafka()));
        var enricher = new OneInputStreamOperatorTestHarness<>(new Enricher(config()))) {
      reader.open();
      enricher.open();
      for (int i = 0; i < values.size(); i++) {
        byte[] value = values.get(i);
        KafkaRecord record =
            new KafkaRecord("dns.normalized", 0, i, 1_900_000_000_000L, null, value);
        reader.processElement(new StreamRecord<>(record));
      }
      for (Transaction read : reader.extractOutputValues()) {
        enricher.processElement(new StreamRecord<>(read));
      }
      for (OutputRecord enriched : enricher.extractOutputValues()) {
        ENRICHED.check(enriched.value());
      }
      for (var harness : List.of(reader, enricher)) {
        var refused = harness.getSideOutput(RecordReader.DEAD_LETTERS);
        if (refused != null) {
          refused.forEach(letter -> letters.add(letter.getValue()));
        }
      }
      enricher.prepareSnapshotPreBarrier(1);
      int malformed = values.size() - reader.extractOutputValues().size();
      var counts = enricher.getSideOutput(CountingOperator.COUNTS).peek().getValue().values();
      assertThat(enricher.extractOutputValues().size() + letters.size()).isEqualTo(values.size());
      assertThat(malformed + counts.get("input/dns.normalized/malformed"))
          .isEqualTo(letters.size());
    }
    return letters;
  }

  /** Without topics of tables, so that no broker is needed. */
  private static Config config() {
    Config.Enrich enrich = new Config.Enrich(null, null, null, null, List.of(), null);
    return new Config(1, null, enrich, null, null, null, null, null, null, null, null, null);
  }
}
