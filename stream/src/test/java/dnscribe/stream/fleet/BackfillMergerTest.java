package dnscribe.stream.fleet;

import static org.assertj.core.api.Assertions.assertThat;

import dnscribe.stream.job.BackfillSpan;
import dnscribe.stream.ledger.CountingOperator;
import java.time.Instant;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;

/** Merged windows of a backfill are complete, or not written. */
class BackfillMergerTest {
  private static final long START = Instant.parse("2020-01-01T00:00:00Z").toEpochMilli();
  private static final long HOUR_MS = BackfillSpan.MARGIN.toMillis();

  /** Arrival of the windows, long after their times. */
  private static final long FROM_MS = Instant.parse("2026-01-01T00:00:00Z").toEpochMilli();

  private final BackfillSpan span = new BackfillSpan(FROM_MS, FROM_MS + HOUR_MS);

  @Test
  void windowsAtTheEdgesHaveAllTheirParts() throws Exception {
    try (var harness = merger()) {
      harness.open();
      add(harness, "n1", START, FROM_MS - 1);
      add(harness, "n2", START, FROM_MS);
      add(harness, "n1", START + 10_000, FROM_MS + HOUR_MS - 1);
      add(harness, "n2", START + 10_000, FROM_MS + HOUR_MS);
      harness.processWatermark(new Watermark(Long.MAX_VALUE));
      assertThat(harness.extractOutputValues())
          .allMatch(FleetWindow::isFinal)
          .extracting(window -> window.nodes().size)
          .containsExactly(2, 2);
    }
  }

  @Test
  void windowsOutsideAreNotWritten() throws Exception {
    try (var harness = merger()) {
      harness.open();
      add(harness, "n1", START, FROM_MS - 1);
      add(harness, "n1", START + 10_000, FROM_MS + HOUR_MS);
      harness.processWatermark(new Watermark(Long.MAX_VALUE));
      assertThat(harness.extractOutputValues()).isEmpty();
    }
  }

  @Test
  void whatCameAnHourLaterReplacesNothing() throws Exception {
    try (var harness = merger()) {
      harness.open();
      add(harness, "n1", START, FROM_MS);
      harness.processWatermark(new Watermark(FROM_MS + 1));
      add(harness, "n2", START, FROM_MS + HOUR_MS + 1);
      harness.processWatermark(new Watermark(Long.MAX_VALUE));
      harness.prepareSnapshotPreBarrier(1);
      assertThat(harness.extractOutputValues()).hasSize(1);
      assertThat(harness.getSideOutput(CountingOperator.COUNTS).peek().getValue().values())
          .containsEntry("late", 1L);
    }
  }

  private KeyedOneInputStreamOperatorTestHarness<String, NodeWindow, FleetWindow> merger()
      throws Exception {
    return new KeyedOneInputStreamOperatorTestHarness<>(
        new BackfillMerger(span), window -> window.key().text(), Types.STRING);
  }

  private static void add(
      KeyedOneInputStreamOperatorTestHarness<String, NodeWindow, FleetWindow> harness,
      String node,
      long startMs,
      long arrivalMs)
      throws Exception {
    NodeWindow window = Windows.parse(Windows.node(node, startMs, 1));
    harness.processElement(
        new StreamRecord<>(window.withKey(window.key().regroup("all", null)), arrivalMs));
  }
}
