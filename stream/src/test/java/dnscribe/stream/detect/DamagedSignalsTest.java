package dnscribe.stream.detect;

import static dnscribe.stream.Records.transaction;
import static org.assertj.core.api.Assertions.assertThat;

import dnscribe.stream.Damage;
import dnscribe.stream.config.Config;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Damaged records in front of the detectors: each is read, or counted as one that cannot be. */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class DamagedSignalsTest {
  private static final int ATTEMPTS = 10_000;
  private static final Config CONFIG =
      new Config(1, null, null, null, null, null, null, null, null, null, null, null);

  @Test
  void transactionsAreReadOrDeadLetters() throws Exception {
    List<byte[]> records = new ArrayList<>(Damage.goldens("lab.ndjson", "dns.transaction/1"));
    records.add(transaction(1));
    try (var harness = new OneInputStreamOperatorTestHarness<>(new EnrichedReader(CONFIG))) {
      send(harness, records);
      long malformed = count(harness, "input/dns.enriched/malformed");
      assertThat(malformed).isBetween(1L, ATTEMPTS - 1L);
      assertThat(count(harness, "input/dns.enriched/unique")).isEqualTo(ATTEMPTS - malformed);
      assertThat(harness.getSideOutput(RecordReader.DEAD_LETTERS)).hasSize((int) malformed);
      assertThat(harness.extractOutputValues()).isNotEmpty();
    }
  }

  @Test
  void probesAndAlertsAreReadOrCounted() throws Exception {
    try (var harness = new OneInputStreamOperatorTestHarness<>(new ProbeReader(CONFIG))) {
      send(harness, Damage.goldens("probes.ndjson", "dns.probe/1"));
      assertThat(count(harness, "detect/unreadable")).isBetween(1L, ATTEMPTS - 1L);
    }
    try (var harness =
        new OneInputStreamOperatorTestHarness<>(new SignalReader("detect-alerts", false))) {
      send(harness, Damage.goldens("alerts.ndjson", "dns.alert/1"));
      assertThat(count(harness, "detect/unreadable")).isBetween(1L, ATTEMPTS - 1L);
    }
  }

  private static void send(
      OneInputStreamOperatorTestHarness<KafkaRecord, ?> harness, List<byte[]> records)
      throws Exception {
    harness.open();
    Damage damage = new Damage(1);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      byte[] value = damage.json(damage.one(records));
      harness.processElement(
          new StreamRecord<>(new KafkaRecord("t", 0, attempt, 1_900_000_000_000L, null, value)));
    }
    harness.prepareSnapshotPreBarrier(1);
  }

  private static long count(OneInputStreamOperatorTestHarness<?, ?> harness, String place) {
    return harness.getSideOutput(CountingOperator.COUNTS).peek().getValue().values().get(place);
  }
}
