package dnscribe.stream.store;

import dnscribe.stream.config.Config;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Writes records to a table, in batches. All rows of a checkpoint are in the table before it
 * completes. After a restart rows are written again: the table's key makes that harmless. While the
 * server is away this operator waits, and with it the job.
 */
public final class ClickHouseWriter extends CountingOperator<OutputRecord, Void> {
  private static final int RECORDS = 0;
  private static final int WRITTEN = 1;
  private static final int REFUSED = 2;
  private static final int BATCH_BYTES = 8 * 1024 * 1024;
  private static final Duration FIRST_RETRY = Duration.ofMillis(100);
  private static final Duration LAST_RETRY = Duration.ofSeconds(10);

  private final Config.ClickHouse settings;
  private final String insert;
  private transient ClickHouse server;
  private transient List<byte[]> rows;
  private transient long bytes;
  private transient boolean timerIsSet;

  /** Creates a writer for a table of the configured database. */
  public ClickHouseWriter(Config.ClickHouse settings, String table) {
    super(
        "clickhouse",
        "output/clickhouse/records",
        "output/clickhouse/written",
        "output/clickhouse/dropped/refused");
    this.settings = settings;
    this.insert =
        "INSERT INTO "
            + table
            + " SETTINGS input_format_skip_unknown_fields=1, date_time_input_format='best_effort',"
            // A batch of a replay or a backfill may be of any number of days.
            + " max_partitions_per_insert_block=0 FORMAT JSONEachRow";
  }

  @Override
  public void open() throws Exception {
    super.open();
    server = new ClickHouse(settings);
    rows = new ArrayList<>();
  }

  @Override
  public void processElement(StreamRecord<OutputRecord> element) throws Exception {
    byte[] row = element.getValue().value();
    rows.add(row);
    bytes += row.length;
    count(RECORDS, 1);
    if (rows.size() >= settings.batchRows() || bytes >= BATCH_BYTES) {
      flush();
    } else if (!timerIsSet) {
      timerIsSet = true;
      var clock = getProcessingTimeService();
      var unused =
          clock.registerTimer(
              clock.getCurrentProcessingTime() + settings.batchWait().toMillis(),
              time -> {
                timerIsSet = false;
                flush();
              });
    }
  }

  @Override
  protected void flush() throws Exception {
    if (!rows.isEmpty()) {
      write(rows);
      rows.clear();
      bytes = 0;
    }
  }

  /** Writes rows; halves a batch with a row that is refused until only this row is left out. */
  private void write(List<byte[]> batch) throws InterruptedException {
    if (insert(batch)) {
      count(WRITTEN, batch.size());
    } else if (batch.size() == 1) {
      LOG.warn("clickhouse: a row is refused and left out");
      count(REFUSED, 1);
    } else {
      int half = batch.size() / 2;
      write(batch.subList(0, half));
      write(batch.subList(half, batch.size()));
    }
  }

  /** Returns whether the server took the batch; false if its data is wrong. */
  private boolean insert(List<byte[]> batch) throws InterruptedException {
    ByteArrayOutputStream body = new ByteArrayOutputStream((int) Math.min(bytes + 1024, 1 << 30));
    for (byte[] row : batch) {
      body.writeBytes(row);
      body.write('\n');
    }
    byte[] data = body.toByteArray();
    Duration wait = FIRST_RETRY;
    while (true) {
      try {
        server.insert(insert, data);
        return true;
      } catch (ClickHouse.RefusedException error) {
        LOG.warn("clickhouse: an insert is refused: {}", error.getMessage());
        if (error.isOfData()) {
          return false;
        }
      } catch (IOException error) {
        LOG.warn("clickhouse: no answer from {}: {}", settings.url(), error.toString());
      }
      Thread.sleep(wait.toMillis());
      wait = wait.multipliedBy(2);
      wait = wait.compareTo(LAST_RETRY) > 0 ? LAST_RETRY : wait;
    }
  }
}
