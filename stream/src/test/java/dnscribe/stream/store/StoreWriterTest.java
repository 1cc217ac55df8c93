package dnscribe.stream.store;

import static org.assertj.core.api.Assertions.assertThat;

import dnscribe.stream.Records;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;

class StoreWriterTest {
  private static final int ROWS = 1_000;

  /** A store that refuses some rows, and all of them at first, and does not say why. */
  private static final class Writer extends StoreWriter {
    private static final long serialVersionUID = 1;

    private final transient Predicate<String> isPoison;
    private final transient Set<String> rows = new HashSet<>();
    private final transient Duration fault;
    private transient Duration paused = Duration.ZERO;

    Writer(Duration fault, Predicate<String> isPoison) {
      super("s", new Settings(ROWS, Integer.MAX_VALUE, Duration.ofHours(1), "dns.dlq", true));
      this.fault = fault;
      this.isPoison = isPoison;
    }

    @Override
    protected void write(List<OutputRecord> batch) throws UnclearException {
      List<String> texts = batch.stream().map(row -> Records.text(row.value())).toList();
      if (paused.compareTo(fault) < 0 || texts.stream().anyMatch(isPoison)) {
        throw new UnclearException("no reason", null);
      }
      rows.addAll(texts);
    }

    @Override
    void pause(Duration wait) {
      paused = paused.plus(wait);
    }
  }

  @Test
  void aStoreThatTakesNoRowIsAtFault() throws Exception {
    Writer writer = new Writer(Duration.ofSeconds(40), row -> false);
    assertThat(write(writer))
        .containsEntry("output/s/written", (long) ROWS)
        .containsEntry("output/s/dropped/refused", 0L);
    assertThat(writer.rows).hasSize(ROWS);
  }

  @Test
  void rowsThatAreRefusedForAnUnknownReasonAreLeftOut() throws Exception {
    Writer writer = new Writer(Duration.ZERO, row -> row.endsWith("77"));
    assertThat(write(writer))
        .containsEntry("output/s/written", (long) ROWS - ROWS / 100)
        .containsEntry("output/s/dropped/refused", (long) ROWS / 100);
    assertThat(writer.rows).hasSize(ROWS - ROWS / 100);
  }

  /** A checkpoint that waits for longer restarts the job, which tries them all again. */
  @Test
  void aBatchOfNothingElseIsLeftOutInTime() throws Exception {
    Writer writer = new Writer(Duration.ZERO, row -> true);
    assertThat(write(writer)).containsEntry("output/s/dropped/refused", (long) ROWS);
    assertThat(writer.paused).isBetween(Duration.ofSeconds(45), Duration.ofSeconds(90));
  }

  private static Map<String, Long> write(Writer writer) throws Exception {
    try (var harness = new OneInputStreamOperatorTestHarness<>(writer)) {
      harness.open();
      for (int row = 0; row < ROWS; row++) {
        byte[] value = Records.bytes(Integer.toString(row));
        String id = "%032x".formatted(row);
        harness.processElement(
            new StreamRecord<>(new OutputRecord("dns.enriched/1", "n", id, null, value)));
      }
      harness.prepareSnapshotPreBarrier(1);
      return harness.getSideOutput(CountingOperator.COUNTS).peek().getValue().values();
    }
  }
}
