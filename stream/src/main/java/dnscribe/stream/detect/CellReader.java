package dnscribe.stream.detect;

import dnscribe.stream.config.Config;
import dnscribe.stream.fleet.FleetClock;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.ledger.CountingOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;

/**
 * Reads records and makes cells of them, added up in this subtask before they are sent: until their
 * span ends or a checkpoint begins. Watermarks are those of the nodes' clocks in this subtask's
 * partitions.
 */
abstract class CellReader extends CountingOperator<KafkaRecord, Cell> {
  /** Silence after which this subtask's partitions hold nobody up. */
  private static final long IDLE_MS = 5_000;

  private final Config settings;
  private transient CellSums sums;
  private transient FleetClock clock;
  private transient long watermark;
  private transient long heardAt;
  private transient boolean isIdle;

  CellReader(Config config, String name, String... counters) {
    super(name, counters);
    this.settings = config;
  }

  final Config settings() {
    return settings;
  }

  /** Reads a record, and gives its time and cells to {@link #observe} and {@link #add}. */
  abstract void read(KafkaRecord record) throws InterruptedException;

  /** Notes the time of a node's record, in milliseconds since the epoch. */
  final void observe(KafkaRecord record, String node, long time) {
    clock.observe(node, time, 0, record.partition(), record.timestamp(), heardAt);
  }

  final void add(Cell cell) {
    sums.add(cell);
  }

  @Override
  public void open() throws Exception {
    super.open();
    sums = new CellSums(settings.detect(), cell -> output.collect(new StreamRecord<>(cell)));
    clock =
        new FleetClock(
            settings.fleet().nodeLag().toMillis(),
            settings.fleet().idleTimeout().toMillis(),
            Long.MIN_VALUE);
    watermark = Long.MIN_VALUE;
    heardAt = getProcessingTimeService().getCurrentProcessingTime();
    setTimer();
  }

  @Override
  public final void processElement(StreamRecord<KafkaRecord> element) throws InterruptedException {
    heardAt = getProcessingTimeService().getCurrentProcessingTime();
    if (isIdle) {
      isIdle = false;
      output.emitWatermarkStatus(WatermarkStatus.ACTIVE);
    }
    read(element.getValue());
  }

  @Override
  protected void flush() {
    sums.flush(Long.MAX_VALUE);
  }

  /** Ignores watermarks of the source but the last one, which ends a backfill. */
  @Override
  public void processWatermark(Watermark mark) throws Exception {
    if (mark.getTimestamp() == Long.MAX_VALUE) {
      flush();
      super.processWatermark(mark);
    }
  }

  private void setTimer() {
    var service = getProcessingTimeService();
    var unused =
        service.registerTimer(
            service.getCurrentProcessingTime() + FleetClock.TICK_MS,
            time -> {
              tick(service.getCurrentProcessingTime());
              setTimer();
            });
  }

  private void tick(long now) {
    long next = clock.tick(now);
    if (next > watermark) {
      watermark = next;
      sums.flush(next);
      output.emitWatermark(new Watermark(next));
    }
    if (!isIdle && now - heardAt >= IDLE_MS) {
      isIdle = true;
      flush();
      output.emitWatermarkStatus(WatermarkStatus.IDLE);
    }
  }
}
