package dnscribe.stream.fleet;

import static org.assertj.core.api.Assertions.assertThat;

import dnscribe.stream.ledger.CountingOperator;
import java.time.Duration;
import java.util.List;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;

class RollupMergerTest {
  private static final int HOUR = 3600;
  private static final long START = 1_800_000_000_000L / (HOUR * 1000L) * HOUR * 1000L;

  @Test
  void anHourIsTheSumOfItsWindows() throws Exception {
    OperatorSubtaskState state;
    try (var harness = merger()) {
      harness.open();
      for (int minute = 0; minute < 60; minute++) {
        long start = START + minute * 60_000L;
        harness.setProcessingTime(start);
        harness.processElement(minute(minute));
        harness.processWatermark(new Watermark(start + 60_000));
      }
      harness.processWatermark(new Watermark(START + HOUR * 1000L));
      List<FleetWindow> hours = harness.extractOutputValues();
      assertThat(hours.size()).isBetween(11, 13);
      assertThat(hours).extracting(FleetWindow::revision).isSorted();
      FleetWindow last = hours.get(hours.size() - 1);
      assertThat(hours.stream().filter(FleetWindow::isFinal)).containsExactly(last);
      assertThat(last.key()).isEqualTo(last.key().over(START, HOUR));
      assertThat(last.nodes().size).isEqualTo(7);
      assertThat(last.sums().get(Counter.TRANSACTIONS)).isEqualTo(60 * 17);
      assertThat(last.sums().latency.get().count()).isEqualTo(60 * 15);
      state = harness.snapshot(1, START + HOUR * 1000L);
    }
    // A window that comes before the first watermark after a restart begins no second hour.
    try (var harness = merger()) {
      harness.initializeState(state);
      harness.open();
      harness.setProcessingTime(START + HOUR * 1000L);
      harness.processElement(minute(7));
      harness.processElement(minute(60));
      harness.processWatermark(new Watermark(START + 2 * HOUR * 1000L));
      harness.prepareSnapshotPreBarrier(2);
      assertThat(harness.extractOutputValues())
          .extracting(hour -> hour.key().startMs())
          .containsExactly(START + HOUR * 1000L);
      assertThat(harness.getSideOutput(CountingOperator.COUNTS).peek().getValue().values())
          .containsEntry("late_rollups", 1L);
    }
  }

  private static KeyedOneInputStreamOperatorTestHarness<String, FleetWindow, FleetWindow> merger()
      throws Exception {
    return new KeyedOneInputStreamOperatorTestHarness<>(
        new RollupMerger(HOUR, Duration.ofMinutes(5)),
        window -> RollupMerger.longer(window.key(), HOUR).text(),
        Types.STRING);
  }

  /** Returns the final window of a minute after {@link #START}, of one of seven nodes. */
  private static StreamRecord<FleetWindow> minute(int minute) throws Exception {
    long start = START + minute * 60_000L;
    NodeWindow window = Windows.parse(Windows.node("n" + minute % 7, start, minute));
    WindowKey key = window.key().regroup("all", null).over(start, 60);
    NodeSet nodes = new NodeSet();
    nodes.add(window.node());
    return new StreamRecord<>(new FleetWindow(key, 0, true, nodes, window.sums()));
  }
}
