package dnscribe.stream.fleet;

import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.record.JsonFields;
import dnscribe.stream.record.Time;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.OptionalLong;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;

/** How far a job has read {@code dns.fleet}: the ends of the windows in its slowest partition. */
public final class FleetProgress {
  /** How far a partition may be ahead of the slowest. Less than an hour: see {@link TagSet}. */
  private static final Duration MAX_AHEAD = Duration.ofMinutes(10);

  /** Silence after which a partition holds nobody up: longer than a change of its leader. */
  private static final Duration IDLE = Duration.ofSeconds(30);

  private FleetProgress() {}

  /**
   * Returns watermarks for each partition, which wait for one another.
   *
   * @param lateness after which merged windows are final
   */
  public static WatermarkStrategy<KafkaRecord> watermarks(Duration lateness) {
    return WatermarkStrategy.<KafkaRecord>forBoundedOutOfOrderness(lateness.multipliedBy(2))
        .withTimestampAssigner((record, time) -> endMs(record))
        .withIdleness(IDLE)
        .withWatermarkAlignment("fleet", MAX_AHEAD);
  }

  /** Returns the end of a window; the smallest time for a record that is none. */
  static long endMs(KafkaRecord record) {
    try {
      String start = JsonFields.text(record.value(), "ts");
      String seconds = JsonFields.text(record.value(), "window_seconds");
      OptionalLong nanos = start == null ? OptionalLong.empty() : Time.epochNanos(start);
      if (nanos.isPresent() && seconds != null) {
        long endMs = nanos.getAsLong() / 1_000_000 + Long.parseLong(seconds) * 1000;
        // A wrong time holds nobody up: those of the future would close everything.
        return endMs > record.timestamp() + Time.MAX_AHEAD_MS ? Long.MIN_VALUE : endMs;
      }
    } catch (UncheckedIOException | NumberFormatException error) {
      // It becomes a dead letter where it is read.
      return Long.MIN_VALUE;
    }
    return Long.MIN_VALUE;
  }
}
