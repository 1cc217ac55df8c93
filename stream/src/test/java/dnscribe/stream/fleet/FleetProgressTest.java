package dnscribe.stream.fleet;

import static org.assertj.core.api.Assertions.assertThat;

import dnscribe.stream.Records;
import dnscribe.stream.kafka.KafkaRecord;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGeneratorSupplier;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.metrics.groups.UnregisteredMetricsGroup;
import org.apache.flink.util.clock.RelativeClock;
import org.apache.flink.util.clock.SystemClock;
import org.junit.jupiter.api.Test;

class FleetProgressTest {
  private static final String WINDOW =
      "{\"ts\":\"2027-01-15T08:00:00.0Z\",\"window_seconds\":10,\"zone\":\"a.com\"}";

  /** Keeps the newest watermark. */
  private static final class Output implements WatermarkOutput {
    private final List<Watermark> watermarks = new ArrayList<>();

    @Override
    public void emitWatermark(Watermark watermark) {
      watermarks.add(watermark);
    }

    @Override
    public void markIdle() {}

    @Override
    public void markActive() {}
  }

  @Test
  void theProgressOfAPartitionIsTheEndOfItsWindows() {
    assertThat(FleetProgress.endMs(record(WINDOW))).isEqualTo(1_800_000_010_000L);
    for (String wrong :
        new String[] {
          "",
          "not json",
          "[]",
          "{\"ts\":\"2027-01-15T08:00:00.0Z\"}",
          WINDOW.replace("2027", "2099"),
          WINDOW.replace("10,", "\"x\","),
        }) {
      assertThat(FleetProgress.endMs(record(wrong))).as(wrong).isEqualTo(Long.MIN_VALUE);
    }
  }

  private static KafkaRecord record(String value) {
    return new KafkaRecord("dns.fleet", 0, 0, 1_800_000_000_000L, null, Records.bytes(value));
  }

  @Test
  void partitionsWaitForOneAnother() {
    var strategy = FleetProgress.watermarks(Duration.ofMinutes(2));
    // Zones with series of their own change at full hours: all partitions must agree which they
    // are.
    assertThat(strategy.getAlignmentParameters().getMaxAllowedWatermarkDrift())
        .isPositive()
        .isLessThan(Duration.ofHours(1).toMillis());
    var assigner = strategy.createTimestampAssigner(() -> new UnregisteredMetricsGroup());
    Output output = new Output();
    var generator = strategy.createWatermarkGenerator(context());
    for (String value : new String[] {WINDOW, "not json"}) {
      KafkaRecord record = record(value);
      generator.onEvent(record, assigner.extractTimestamp(record, record.timestamp()), output);
    }
    generator.onPeriodicEmit(output);
    // The end of the window less the time in which it becomes final.
    assertThat(output.watermarks).containsExactly(new Watermark(1_800_000_010_000L - 240_001));
  }

  private static WatermarkGeneratorSupplier.Context context() {
    return new WatermarkGeneratorSupplier.Context() {
      @Override
      public MetricGroup getMetricGroup() {
        return new UnregisteredMetricsGroup();
      }

      @Override
      public RelativeClock getInputActivityClock() {
        return SystemClock.getInstance();
      }
    };
  }
}
