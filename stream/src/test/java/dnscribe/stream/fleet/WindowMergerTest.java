package dnscribe.stream.fleet;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import dnscribe.stream.Savepoints;
import dnscribe.stream.ledger.CountingOperator;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;

class WindowMergerTest {
  private static final long START = 1_800_000_000_000L;
  private static final long END = START + 10_000;

  @Test
  void lateNodesMakeRevisionsUntilTheWindowIsFinal() throws Exception {
    try (var harness = merger()) {
      harness.open();
      harness.setProcessingTime(END + 1_000);
      add(harness, Windows.node("n1", START, 1));
      add(harness, Windows.node("n2", START, 2));
      harness.processWatermark(new Watermark(END));
      add(harness, Windows.node("n3", START, 3));
      harness.setProcessingTime(END + 3_000);
      harness.processWatermark(new Watermark(END + 120_000));
      assertThat(written(harness)).extracting(FleetWindow::isFinal).containsExactly(false, false);
      run(harness, END + 124_000);
      List<FleetWindow> written = written(harness);
      assertThat(written).extracting(FleetWindow::revision).containsExactly(0, 1, 1);
      assertThat(written).extracting(w -> w.nodes().size).last().isEqualTo(3);
      assertThat(written).extracting(FleetWindow::eventId).doesNotHaveDuplicates();
      JsonNode last = Windows.JSON.readTree(FleetRecord.of(written.get(2)).value());
      assertThat(last.path("final").asBoolean()).isTrue();
      assertThat(last.path("transactions").asLong()).isEqualTo(3 * 17);
      add(harness, Windows.node("n4", START, 4));
      harness.prepareSnapshotPreBarrier(1);
      assertThat(written(harness)).hasSize(3);
      assertThat(counts(harness)).containsEntry("late", 1L);
    }
  }

  @Test
  void theWatermarkWaitsForFinalWindows() throws Exception {
    OperatorSubtaskState state;
    try (var harness = merger()) {
      harness.open();
      harness.setProcessingTime(END);
      add(harness, Windows.node("n1", START, 1));
      // As after a restart: the nodes are far ahead, and the job has just begun to run.
      harness.processWatermark(new Watermark(END + 240_000));
      run(harness, END + 60_000);
      assertThat(watermark(harness)).isLessThan(END);
      state = harness.snapshot(1, 1);
    }
    for (OperatorSubtaskState restored : Savepoints.withKept("window-merger", state)) {
      try (var harness = merger()) {
        harness.initializeState(restored);
        harness.open();
        harness.setProcessingTime(END + 60_000);
        harness.processWatermark(new Watermark(END + 300_000));
        assertThat(watermark(harness)).isLessThan(END);
        run(harness, END + 240_000);
        assertThat(written(harness)).last().matches(FleetWindow::isFinal);
        assertThat(watermark(harness)).isGreaterThanOrEqualTo(END);
        Object last = harness.getOutput().toArray()[harness.getOutput().size() - 1];
        assertThat(last).isInstanceOf(Watermark.class);
      }
    }
  }

  /** Returns the newest watermark that the operator has emitted. */
  private static long watermark(
      KeyedOneInputStreamOperatorTestHarness<String, NodeWindow, FleetWindow> harness) {
    return harness.getOutput().stream()
        .filter(Watermark.class::isInstance)
        .mapToLong(mark -> ((Watermark) mark).getTimestamp())
        .max()
        .orElse(Long.MIN_VALUE);
  }

  @Test
  void theLastWindowsOfASilentFleetAreWrittenUnfinished() throws Exception {
    try (var harness = merger()) {
      harness.open();
      harness.setProcessingTime(END);
      add(harness, Windows.node("n1", START, 1));
      harness.processWatermark(new Watermark(END - 1));
      run(harness, END + 119_000);
      assertThat(written(harness)).isEmpty();
      run(harness, END + 120_000);
      assertThat(written(harness)).extracting(FleetWindow::isFinal).containsExactly(false);
      // The nodes speak again, the last of them of that window too.
      add(harness, Windows.node("n2", START, 2));
      harness.processWatermark(new Watermark(END + 120_000));
      run(harness, END + 600_000);
      List<FleetWindow> written = written(harness);
      assertThat(written).extracting(FleetWindow::isFinal).containsExactly(false, false, true);
      assertThat(written).extracting(FleetWindow::revision).containsExactly(0, 1, 1);
      assertThat(written).last().extracting(w -> w.nodes().size).isEqualTo(2);
    }
  }

  @Test
  void afterAnOutageAlsoGroupsThatOnlyLaterNodesHaveAreTaken() throws Exception {
    OperatorSubtaskState state;
    try (var harness = merger()) {
      harness.open();
      harness.setProcessingTime(END + 600_000);
      add(harness, Windows.node("n1", START, 1));
      // The first node sends ten minutes at once.
      harness.processWatermark(new Watermark(END + 590_000));
      harness.setProcessingTime(END + 610_000);
      add(harness, Windows.node("n2", START, 2).put("vantage", "server"));
      harness.setProcessingTime(END + 612_000);
      assertThat(written(harness)).extracting(FleetWindow::isFinal).containsExactly(false, false);
      run(harness, END + 732_000);
      assertThat(written(harness)).filteredOn(FleetWindow::isFinal).hasSize(2);
      state = harness.snapshot(1, END + 732_000);
    }
    try (var harness = merger()) {
      harness.initializeState(state);
      harness.open();
      harness.setProcessingTime(END + 733_000);
      harness.processWatermark(new Watermark(END + 590_000));
      add(harness, Windows.node("n3", START, 3));
      harness.prepareSnapshotPreBarrier(2);
      assertThat(written(harness)).isEmpty();
      assertThat(counts(harness)).containsEntry("late", 1L);
    }
  }

  @Test
  void finalWindowsStayFinalBeforeTheFirstWatermarkAfterARestart() throws Exception {
    OperatorSubtaskState state;
    try (var harness = merger()) {
      harness.open();
      harness.setProcessingTime(END + 1_000);
      add(harness, Windows.node("n1", START, 1));
      harness.processWatermark(new Watermark(END + 120_000));
      run(harness, END + 124_000);
      assertThat(written(harness)).last().matches(FleetWindow::isFinal);
      state = harness.snapshot(1, END + 124_000);
    }
    try (var harness = merger()) {
      harness.initializeState(state);
      harness.open();
      harness.setProcessingTime(END + 125_000);
      add(harness, Windows.node("n2", START, 2));
      // A second restart, before a watermark has come.
      state = harness.snapshot(2, END + 125_000);
    }
    try (var harness = merger()) {
      harness.initializeState(state);
      harness.open();
      harness.setProcessingTime(END + 126_000);
      add(harness, Windows.node("n3", START, 3));
      add(harness, Windows.node("n3", END, 4));
      harness.processWatermark(new Watermark(END + 120_000));
      run(harness, END + 128_000);
      harness.prepareSnapshotPreBarrier(3);
      assertThat(written(harness)).extracting(w -> w.key().startMs()).containsExactly(END);
      assertThat(counts(harness)).containsEntry("late", 2L);
    }
  }

  private static KeyedOneInputStreamOperatorTestHarness<String, NodeWindow, FleetWindow> merger()
      throws Exception {
    return new KeyedOneInputStreamOperatorTestHarness<>(
        new WindowMerger(Duration.ofMinutes(2)), w -> w.key().text(), Types.STRING);
  }

  private static void add(
      KeyedOneInputStreamOperatorTestHarness<String, NodeWindow, FleetWindow> harness,
      com.fasterxml.jackson.databind.node.ObjectNode json)
      throws Exception {
    NodeWindow window = Windows.parse(json);
    harness.processElement(new StreamRecord<>(window.withKey(window.key().regroup("all", null))));
  }

  private static void run(
      KeyedOneInputStreamOperatorTestHarness<String, NodeWindow, FleetWindow> harness, long untilMs)
      throws Exception {
    for (long ms = harness.getProcessingTime(); ms <= untilMs; ms += 1_000) {
      harness.setProcessingTime(ms);
    }
  }

  private static List<FleetWindow> written(
      KeyedOneInputStreamOperatorTestHarness<String, NodeWindow, FleetWindow> harness) {
    return harness.extractOutputValues();
  }

  private static Map<String, Long> counts(
      KeyedOneInputStreamOperatorTestHarness<String, NodeWindow, FleetWindow> harness) {
    return harness.getSideOutput(CountingOperator.COUNTS).peek().getValue().values();
  }
}
