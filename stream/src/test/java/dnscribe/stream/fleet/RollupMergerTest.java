package dnscribe.stream.fleet;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.List;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;

class RollupMergerTest {
  private static final int HOUR = 3600;
  private static final long START = 1_800_000_000_000L / (HOUR * 1000L) * HOUR * 1000L;

  @Test
  void anHourIsTheSumOfItsWindows() throws Exception {
    try (var harness =
        new KeyedOneInputStreamOperatorTestHarness<>(
            new RollupMerger(HOUR, Duration.ofMinutes(5)),
            window -> RollupMerger.longer(window.key(), HOUR).text(),
            Types.STRING)) {
      harness.open();
      for (int minute = 0; minute < 60; minute++) {
        long start = START + minute * 60_000L;
        NodeWindow window = Windows.parse(Windows.node("n" + minute % 7, start, minute));
        WindowKey key = window.key().regroup("all", null).over(start, 60);
        NodeSet nodes = new NodeSet();
        nodes.add(window.node());
        harness.setProcessingTime(start);
        harness.processElement(
            new StreamRecord<>(new FleetWindow(key, 0, true, nodes, window.sums())));
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
    }
  }
}
