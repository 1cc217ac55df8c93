package dnscribe.stream.enrich;

import static dnscribe.stream.Records.bytes;
import static dnscribe.stream.Records.text;
import static dnscribe.stream.Records.transaction;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.config.Config.TopicNames;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.ledger.Counts;
import dnscribe.stream.ledger.LedgerOperator;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;

class OperatorsTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final String TOPIC = "dns.normalized";

  @Test
  void readerSeparatesDeadLetters() throws Exception {
    try (var harness =
        new OneInputStreamOperatorTestHarness<>(EnrichJob.reader(TopicNames.DEFAULT, true))) {
      harness.open();
      harness.processElement(new StreamRecord<>(record(0, transaction(1))));
      harness.processElement(new StreamRecord<>(record(1, bytes("{\"schema\":3}"))));
      harness.prepareSnapshotPreBarrier(1);
      assertThat(harness.extractOutputValues())
          .extracting(Transaction::eventId)
          .containsExactly("00000000000000000000000000000001");
      JsonNode letter =
          JSON.readTree(harness.getSideOutput(RecordReader.DEAD_LETTERS).peek().getValue().value());
      assertThat(letter.path("stage").asText()).isEqualTo("stream");
      assertThat(letter.path("reason").asText()).isEqualTo("schema");
      assertThat(letter.path("offset").asInt()).isEqualTo(1);
      assertThat(counts(harness))
          .containsEntry("input/dns.normalized/records", 2L)
          .containsEntry("input/dns.normalized/malformed", 1L)
          .containsEntry("output/dns.dlq/written", 1L);
    }
  }

  @Test
  void duplicatesAreKnownAfterARestartAndForgottenAfterTheirTime() throws Exception {
    OperatorSubtaskState state;
    try (var harness = deduplicator()) {
      harness.open();
      harness.setStateTtlProcessingTime(0);
      for (int number : new int[] {1, 2, 1}) {
        harness.processElement(new StreamRecord<>(parsed(number)));
      }
      assertThat(harness.extractOutputValues()).hasSize(2);
      harness.prepareSnapshotPreBarrier(1);
      state = harness.snapshot(1, 0);
    }
    try (var harness = deduplicator()) {
      harness.initializeState(state);
      harness.open();
      harness.setStateTtlProcessingTime(1_000);
      harness.processElement(new StreamRecord<>(parsed(2)));
      assertThat(harness.extractOutputValues()).isEmpty();
      harness.setStateTtlProcessingTime(Duration.ofHours(3).toMillis());
      harness.processElement(new StreamRecord<>(parsed(2)));
      assertThat(harness.extractOutputValues()).hasSize(1);
      harness.prepareSnapshotPreBarrier(2);
      assertThat(counts(harness))
          .containsEntry("input/dns.normalized/unique", 3L)
          .containsEntry("input/dns.normalized/duplicates", 2L);
    }
  }

  @Test
  void enrichedRecordHasEveryFieldUnchanged() throws Exception {
    try (var harness =
        new OneInputStreamOperatorTestHarness<>(new Enricher("dns.enriched", true))) {
      harness.open();
      harness.processElement(new StreamRecord<>(parsed(5)));
      OutputRecord output = harness.extractOutputValues().get(0);
      ObjectNode expected = (ObjectNode) JSON.readTree(transaction(5));
      expected.put("schema", "dns.enriched/1");
      expected
          .putObject("name")
          .put("label_count", 3)
          .put("longest_label", 7)
          .put("entropy_bits", 0.0);
      assertThat(JSON.readTree(output.value())).isEqualTo(expected);
      assertThat(text(output.key())).isEqualTo("key");
    }
  }

  @Test
  void ledgerAddsSubtasksUpAndSurvivesRescaling() throws Exception {
    try (var harness = new OneInputStreamOperatorTestHarness<>(new LedgerOperator("enrich"))) {
      harness.open();
      for (Counts counts :
          List.of(
              new Counts("reader", 0, 2, Map.of("input/t/records", 7L, "input/t/malformed", 1L)),
              new Counts("reader", 1, 2, Map.of("input/t/records", 3L, "input/t/malformed", 0L)),
              new Counts("deduplicator", 0, 1, Map.of("input/t/unique", 8L)))) {
        harness.processElement(new StreamRecord<>(counts));
      }
      harness.prepareSnapshotPreBarrier(1);
      harness.processElement(
          new StreamRecord<>(new Counts("deduplicator", 0, 1, Map.of("input/t/unique", 9L))));
      harness.prepareSnapshotPreBarrier(2);
      harness.processElement(
          new StreamRecord<>(
              new Counts("reader", 0, 1, Map.of("input/t/records", 10L, "input/t/malformed", 1L))));
      harness.prepareSnapshotPreBarrier(3);
      List<JsonNode> ledgers = new ArrayList<>();
      for (OutputRecord output : harness.extractOutputValues()) {
        ledgers.add(JSON.readTree(output.value()));
      }
      assertThat(ledgers)
          .extracting(ledger -> ledger.path("balanced").asBoolean())
          .containsExactly(false, true, true);
      assertThat(ledgers)
          .extracting(ledger -> ledger.at("/input/t/records").asInt())
          .containsExactly(10, 10, 10);
      assertThat(ledgers)
          .extracting(ledger -> ledger.path("event_id").asText())
          .doesNotHaveDuplicates();
    }
  }

  private static KeyedOneInputStreamOperatorTestHarness<String, Transaction, Transaction>
      deduplicator() throws Exception {
    return new KeyedOneInputStreamOperatorTestHarness<>(
        new Deduplicator(TOPIC, Duration.ofHours(2)), Transaction::eventId, Types.STRING);
  }

  private static Map<String, Long> counts(OneInputStreamOperatorTestHarness<?, ?> harness) {
    return harness.getSideOutput(CountingOperator.COUNTS).peek().getValue().values();
  }

  private static Transaction parsed(int number) throws Exception {
    var schema = dnscribe.stream.record.RecordSchema.load("dns.transaction/1");
    return Transaction.of(bytes("key"), schema.check(transaction(number)));
  }

  private static KafkaRecord record(long offset, byte[] value) {
    return new KafkaRecord(TOPIC, 0, offset, 1_700_000_000_000L, bytes("key"), value);
  }
}
