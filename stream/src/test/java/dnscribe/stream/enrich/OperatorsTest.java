package dnscribe.stream.enrich;

import static dnscribe.stream.Records.bytes;
import static dnscribe.stream.Records.text;
import static dnscribe.stream.Records.transaction;
import static org.apache.flink.streaming.util.AbstractStreamOperatorTestHarness.repackageState;
import static org.apache.flink.streaming.util.AbstractStreamOperatorTestHarness.repartitionOperatorState;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dnscribe.stream.Savepoints;
import dnscribe.stream.config.Config;
import dnscribe.stream.job.Deduplicator;
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
import java.util.Set;
import java.util.function.IntPredicate;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.runtime.state.StateBackend;
import org.apache.flink.runtime.state.hashmap.HashMapStateBackend;
import org.apache.flink.state.rocksdb.EmbeddedRocksDBStateBackend;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class OperatorsTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final String TOPIC = "dns.normalized";
  private static final int KEY_GROUPS = 128;
  private static final int IDS = 500;

  @Test
  void readerSeparatesDeadLetters() throws Exception {
    try (var harness =
        new OneInputStreamOperatorTestHarness<>(
            EnrichJob.reader(
                new Config.Kafka(null, null, null, null, null, null, null, null, null)))) {
      harness.open();
      harness.processElement(new StreamRecord<>(record(0, transaction(1))));
      harness.processElement(new StreamRecord<>(record(1, bytes("{\"schema\":3}"))));
      // A clock that is wrong by more would make a part of the table for each day.
      harness.processElement(new StreamRecord<>(record(2, transactionAt("2026-01-04T00:00:00Z"))));
      harness.processElement(new StreamRecord<>(record(3, transactionAt("2026-01-03T00:00:00Z"))));
      harness.prepareSnapshotPreBarrier(1);
      assertThat(harness.extractOutputValues())
          .extracting(transaction -> transaction.record().ts())
          .containsExactly("2026-01-02T03:04:05.123456789Z", "2026-01-03T00:00:00Z");
      var letters = harness.getSideOutput(RecordReader.DEAD_LETTERS);
      JsonNode letter = JSON.readTree(letters.poll().getValue().value());
      assertThat(letter.path("stage").asText()).isEqualTo("stream");
      assertThat(letter.path("reason").asText()).isEqualTo("schema");
      assertThat(letter.path("offset").asInt()).isEqualTo(1);
      assertThat(counts(harness))
          .containsEntry("input/dns.normalized/records", 4L)
          .containsEntry("input/dns.normalized/malformed", 2L)
          .containsEntry("output/dns.dlq/written", 2L);
      assertThat(JSON.readTree(letters.poll().getValue().value()).path("detail").asText())
          .isEqualTo("more than a day ahead at /ts");
    }
  }

  private static byte[] transactionAt(String time) {
    return bytes(text(transaction(2)).replace("2026-01-02T03:04:05.123456789Z", time));
  }

  /** Time is that of the records in Kafka: a job that was away for a day has forgotten nothing. */
  @ParameterizedTest
  @MethodSource("backends")
  void duplicatesAreKnownAfterARestartAndForgottenAfterTheirTime(StateBackend backend)
      throws Exception {
    OperatorSubtaskState state;
    try (var harness = deduplicator(backend)) {
      harness.open();
      setWallClock(harness, Duration.ofHours(10));
      harness.processWatermark(Duration.ofHours(10).toMillis());
      for (int number : new int[] {1, 2, 1}) {
        harness.processElement(new StreamRecord<>(output(number)));
      }
      assertThat(harness.extractOutputValues()).hasSize(2);
      harness.prepareSnapshotPreBarrier(1);
      state = harness.snapshot(1, 0);
    }
    for (OperatorSubtaskState restored :
        Savepoints.withKept("deduplicator-" + backend.getClass().getSimpleName(), state)) {
      try (var harness = deduplicator(backend)) {
        harness.initializeState(restored);
        harness.open();
        setWallClock(harness, Duration.ofHours(34));
        // One partition is read to its end before another one is begun: there is no watermark yet.
        long present = Duration.ofHours(34).toMillis();
        harness.processElement(new StreamRecord<>(output(1), present));
        assertThat(values(harness)).isEmpty();
        for (int minutes : new int[] {0, 60, 119}) {
          harness.processWatermark(Duration.ofHours(10).plusMinutes(minutes).toMillis());
          harness.processElement(new StreamRecord<>(output(2), present));
          assertThat(values(harness)).isEmpty();
        }
        harness.processWatermark(Duration.ofHours(15).toMillis());
        harness.processElement(new StreamRecord<>(output(2)));
        assertThat(values(harness)).hasSize(1);
        for (int minutes : new int[] {0, 1}) {
          harness.processWatermark(Duration.ofHours(15).plusMinutes(minutes).toMillis());
          harness.processElement(new StreamRecord<>(output(3)));
        }
        assertThat(values(harness)).hasSize(2);
        harness.prepareSnapshotPreBarrier(2);
        assertThat(counts(harness))
            .containsEntry("input/dns.normalized/unique", 4L)
            .containsEntry("output/dns.enriched/written", 4L)
            .containsEntry("input/dns.normalized/duplicates", 6L);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("backends")
  void idsAreForgottenAlsoOnceTheyAreRememberedForLonger(StateBackend backend) throws Exception {
    Duration begin = Duration.ofDays(100);
    OperatorSubtaskState state;
    try (var harness = deduplicator(backend, Duration.ofMinutes(15), 1, 1, 0)) {
      harness.open();
      harness.processWatermark(begin.toMillis());
      harness.processElement(new StreamRecord<>(output(1)));
      harness.prepareSnapshotPreBarrier(1);
      state = harness.snapshot(1, 0);
    }
    try (var harness = deduplicator(backend)) {
      harness.initializeState(state);
      harness.open();
      for (int hours : new int[] {0, 1, 10}) {
        harness.processWatermark(begin.plusHours(hours).toMillis() + 1);
        // Of the same page, of which there are 8,192.
        harness.processElement(new StreamRecord<>(output(1 + 8_192)));
      }
      assertThat(values(harness)).hasSize(2);
    }
  }

  /** One subtask gets all keys without an exchange; two get those of their ranges. */
  @ParameterizedTest
  @MethodSource("backends")
  void idsAreKnownWithAnotherParallelism(StateBackend backend) throws Exception {
    OperatorSubtaskState one;
    try (var harness = deduplicator(backend, KEY_GROUPS, 1, 0)) {
      harness.open();
      one = addAll(harness, number -> true);
      assertThat(harness.extractOutputValues()).hasSize(IDS);
    }
    OperatorSubtaskState[] two = new OperatorSubtaskState[2];
    for (int subtask = 0; subtask < 2; subtask++) {
      int index = subtask;
      try (var harness = deduplicator(backend, KEY_GROUPS, 2, subtask)) {
        harness.initializeState(repartitionOperatorState(one, KEY_GROUPS, 1, 2, subtask));
        harness.open();
        two[subtask] =
            addAll(
                harness,
                number ->
                    KeyGroupRangeAssignment.assignKeyToParallelOperator(
                            Deduplicator.key(output(number)), KEY_GROUPS, 2)
                        == index);
        assertThat(harness.extractOutputValues()).isEmpty();
      }
    }
    try (var harness = deduplicator(backend, KEY_GROUPS, 1, 0)) {
      OperatorSubtaskState both = repackageState(two);
      harness.initializeState(repartitionOperatorState(both, KEY_GROUPS, 2, 1, 0));
      harness.open();
      addAll(harness, number -> true);
      assertThat(harness.extractOutputValues()).isEmpty();
    }
  }

  private static OperatorSubtaskState addAll(
      KeyedOneInputStreamOperatorTestHarness<Integer, OutputRecord, OutputRecord> harness,
      IntPredicate isOfSubtask)
      throws Exception {
    for (int number = 0; number < IDS; number++) {
      if (isOfSubtask.test(number)) {
        harness.processElement(new StreamRecord<>(output(number)));
      }
    }
    harness.prepareSnapshotPreBarrier(1);
    return harness.snapshot(1, 0);
  }

  @ParameterizedTest
  @MethodSource("backends")
  void idsWithEqualHalvesAreNotDuplicates(StateBackend backend) throws Exception {
    try (var harness = deduplicator(backend)) {
      harness.open();
      for (String id : new String[] {"1".repeat(32), "2".repeat(16) + "1".repeat(16)}) {
        harness.processElement(
            new StreamRecord<>(new OutputRecord("s", "n1", id, null, bytes("{}"))));
      }
      assertThat(harness.extractOutputValues()).hasSize(2);
    }
  }

  @Test
  void recordsOfTablesAreCheckedAndTombstonesPass() throws Exception {
    try (var harness =
        new OneInputStreamOperatorTestHarness<>(
            new ReferenceReader("intel", "dns.intel", "dns.dlq"))) {
      harness.open();
      String[] values = {
        intel("evil.example", "domain"), "", intel("evil.example", "prefix"), "{}", "not json",
      };
      for (String value : values) {
        harness.processElement(
            new StreamRecord<>(
                new KafkaRecord("dns.intel", 0, 1, 2, bytes("evil.example"), bytes(value))));
      }
      harness.processElement(
          new StreamRecord<>(new KafkaRecord("dns.intel", 0, 1, 2, bytes("x"), bytes(values[0]))));
      harness.prepareSnapshotPreBarrier(1);
      List<String> reasons = new ArrayList<>();
      for (OutputRecord letter : harness.extractOutputValues()) {
        reasons.add(JSON.readTree(letter.value()).path("reason").asText());
      }
      assertThat(reasons).containsExactly("field", "missing_field", "json", "field");
      assertThat(counts(harness))
          .containsEntry("input/dns.intel/records", 6L)
          .containsEntry("input/dns.intel/offsets/0", 2L)
          .containsEntry("input/dns.intel/unique", 2L)
          .containsEntry("input/dns.intel/malformed", 4L);
    }
  }

  @Test
  void ledgerAddsSubtasksUpAndSurvivesRescaling() throws Exception {
    try (var harness = ledger("reader", "deduplicator")) {
      harness.open();
      for (Counts counts :
          List.of(
              new Counts(
                  "reader",
                  0,
                  2,
                  Map.of("input/t/records", 7L, "input/t/malformed", 1L, "input/t/offsets/0", 8L)),
              new Counts(
                  "reader",
                  1,
                  2,
                  Map.of("input/t/records", 3L, "input/t/malformed", 0L, "input/t/offsets/0", 5L)),
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
      List<JsonNode> ledgers = ledgers(harness);
      assertThat(ledgers)
          .extracting(ledger -> ledger.path("balanced").asBoolean())
          .containsExactly(false, true, true);
      assertThat(ledgers)
          .extracting(ledger -> ledger.at("/input/t/records").asInt())
          .containsExactly(10, 10, 10);
      assertThat(ledgers.get(0).at("/input/t/offsets/0").asInt())
          .as("a partition that another subtask has read before")
          .isEqualTo(8);
      assertThat(ledgers)
          .extracting(ledger -> ledger.path("event_id").asText())
          .doesNotHaveDuplicates();
    }
  }

  @Test
  void sinksThatTheJobNoLongerHasLeaveTheLedger() throws Exception {
    OperatorSubtaskState state;
    try (var harness = ledger("reader", "clickhouse")) {
      harness.open();
      harness.processElement(counts("reader", "input/t/records"));
      harness.processElement(counts("clickhouse", "output/clickhouse/records"));
      harness.prepareSnapshotPreBarrier(1);
      state = harness.snapshot(1, 1);
    }
    for (OperatorSubtaskState restored : Savepoints.withKept("ledger", state)) {
      try (var harness = ledger("reader")) {
        harness.initializeState(restored);
        harness.open();
        harness.prepareSnapshotPreBarrier(2);
        JsonNode ledger = JSON.readTree(harness.extractOutputValues().get(0).value());
        assertThat(ledger.at("/input/t/records").asInt()).isEqualTo(7);
        assertThat(ledger.at("/output")).isEmpty();
      }
    }
  }

  @Test
  void theFirstLedgerAfterARestartSaysWhatHadBeenWritten() throws Exception {
    OperatorSubtaskState state;
    try (var harness = ledger("reader", "clickhouse")) {
      harness.open();
      harness.processElement(counts("reader", "input/t/records"));
      harness.processElement(counts("clickhouse", "output/clickhouse/written"));
      harness.prepareSnapshotPreBarrier(5);
      assertThat(ledgers(harness)).noneMatch(ledger -> ledger.has("restored"));
      state = harness.snapshot(5, 1);
    }
    try (var harness = ledger("reader", "clickhouse")) {
      harness.setRestoredCheckpointId(5);
      harness.initializeState(state);
      harness.open();
      Map<String, Long> more = Map.of("output/clickhouse/written", 9L);
      harness.processElement(new StreamRecord<>(new Counts("clickhouse", 0, 1, more)));
      harness.prepareSnapshotPreBarrier(6);
      harness.prepareSnapshotPreBarrier(7);
      List<JsonNode> ledgers = ledgers(harness);
      assertThat(ledgers.get(0).path("restored"))
          .isEqualTo(
              JSON.readTree("{\"checkpoint\":5,\"output\":{\"clickhouse\":{\"written\":7}}}"));
      assertThat(ledgers.get(0).at("/output/clickhouse/written").asInt()).isEqualTo(9);
      assertThat(ledgers.get(1).has("restored")).isFalse();
    }
  }

  private static List<JsonNode> ledgers(
      OneInputStreamOperatorTestHarness<Counts, OutputRecord> harness) throws Exception {
    List<JsonNode> ledgers = new ArrayList<>();
    for (OutputRecord output : harness.extractOutputValues()) {
      ledgers.add(JSON.readTree(output.value()));
    }
    return ledgers;
  }

  private static StreamRecord<Counts> counts(String operator, String place) {
    return new StreamRecord<>(new Counts(operator, 0, 1, Map.of(place, 7L)));
  }

  private static OneInputStreamOperatorTestHarness<Counts, OutputRecord> ledger(String... operators)
      throws Exception {
    return new OneInputStreamOperatorTestHarness<>(new LedgerOperator("enrich", Set.of(operators)));
  }

  static List<StateBackend> backends() {
    return List.of(new HashMapStateBackend(), new EmbeddedRocksDBStateBackend());
  }

  private static KeyedOneInputStreamOperatorTestHarness<Integer, OutputRecord, OutputRecord>
      deduplicator(StateBackend backend) throws Exception {
    return deduplicator(backend, 1, 1, 0);
  }

  private static KeyedOneInputStreamOperatorTestHarness<Integer, OutputRecord, OutputRecord>
      deduplicator(StateBackend backend, int keyGroups, int subtasks, int index) throws Exception {
    return deduplicator(backend, Duration.ofHours(2), keyGroups, subtasks, index);
  }

  private static KeyedOneInputStreamOperatorTestHarness<Integer, OutputRecord, OutputRecord>
      deduplicator(
          StateBackend backend, Duration remembered, int keyGroups, int subtasks, int index)
          throws Exception {
    var harness =
        new KeyedOneInputStreamOperatorTestHarness<>(
            EnrichJob.deduplicator(Config.TopicNames.DEFAULT, remembered),
            Deduplicator::key,
            Types.INT,
            keyGroups,
            subtasks,
            index);
    harness.setStateBackend(backend);
    return harness;
  }

  private static void setWallClock(OneInputStreamOperatorTestHarness<?, ?> harness, Duration time)
      throws Exception {
    harness.setProcessingTime(time.toMillis());
    harness.setStateTtlProcessingTime(time.toMillis());
  }

  private static List<OutputRecord> values(
      OneInputStreamOperatorTestHarness<?, OutputRecord> harness) {
    return List.copyOf(harness.extractOutputValues());
  }

  private static String intel(String indicator, String kind) {
    return """
        {"schema":"dns.intel/1","event_id":"%032x","ts":"2026-01-02T03:04:05Z","node":"n1",\
        "indicator":"%s","kind":"%s","source":"list"}"""
        .formatted(1, indicator, kind);
  }

  private static Map<String, Long> counts(OneInputStreamOperatorTestHarness<?, ?> harness) {
    return harness.getSideOutput(CountingOperator.COUNTS).peek().getValue().values();
  }

  private static OutputRecord output(int number) {
    return new OutputRecord("s", "n1", "%032x".formatted(number), bytes("key"), bytes("{}"));
  }

  private static KafkaRecord record(long offset, byte[] value) {
    return new KafkaRecord(TOPIC, 0, offset, 1_767_323_045_000L, bytes("key"), value);
  }
}
