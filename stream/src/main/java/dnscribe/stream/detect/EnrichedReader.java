package dnscribe.stream.detect;

import dnscribe.stream.config.Config;
import dnscribe.stream.fleet.FleetClock;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.record.DeadLetter;
import dnscribe.stream.record.MalformedException;
import java.io.IOException;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;

/**
 * Reads {@code dns.enriched/1} and makes cells of them, added up in this subtask before they are
 * sent: until their span ends or a checkpoint begins. Watermarks are those of the nodes' clocks in
 * this subtask's partitions.
 */
final class EnrichedReader extends CountingOperator<KafkaRecord, Cell> {
  private static final int RECORDS = 0;
  private static final int UNIQUE = 1;
  private static final int MALFORMED = 2;
  private static final int DEAD_LETTERS = 3;
  private static final int DEAD_LETTERS_WRITTEN = 4;

  /** Silence after which this subtask's partitions hold nobody up. */
  private static final long IDLE_MS = 5_000;

  private final Config settings;
  private transient EnrichedRecord record;
  private transient EnrichedCells cells;
  private transient CellSums sums;
  private transient FleetClock clock;
  private transient long watermark;
  private transient long heardAt;
  private transient boolean isIdle;

  EnrichedReader(Config config) {
    super(
        "enriched",
        "input/" + config.kafka().topics().enriched() + "/records",
        "input/" + config.kafka().topics().enriched() + "/unique",
        "input/" + config.kafka().topics().enriched() + "/malformed",
        "output/" + config.kafka().topics().dlq() + "/records",
        "output/" + config.kafka().topics().dlq() + "/written");
    this.settings = config;
  }

  @Override
  public void open() throws Exception {
    super.open();
    record = new EnrichedRecord();
    cells = new EnrichedCells(settings.detect());
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
  public void processElement(StreamRecord<KafkaRecord> element) {
    KafkaRecord read = element.getValue();
    countRead(RECORDS, read);
    heardAt = getProcessingTimeService().getCurrentProcessingTime();
    if (isIdle) {
      isIdle = false;
      output.emitWatermarkStatus(WatermarkStatus.ACTIVE);
    }
    try {
      record.read(read.value());
    } catch (IOException | RuntimeException error) {
      // A time or a field of another type.
      count(MALFORMED, 1);
      count(DEAD_LETTERS, 1);
      count(DEAD_LETTERS_WRITTEN, 1);
      var reason = new MalformedException("json", String.valueOf(error.getMessage()));
      output.collect(
          RecordReader.DEAD_LETTERS, new StreamRecord<>(DeadLetter.of(read, "enriched", reason)));
      return;
    }
    // The topic is written exactly once.
    count(UNIQUE, 1);
    if (record.node != null && record.time > 0) {
      clock.observe(record.node, record.time, 0, read.partition(), read.timestamp(), heardAt);
      cells.of(record, sums::add);
    }
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
