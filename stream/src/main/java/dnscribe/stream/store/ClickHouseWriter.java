package dnscribe.stream.store;

import dnscribe.stream.config.Config;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.JsonFields;
import dnscribe.stream.record.Time;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.time.Duration;
import java.util.List;

/** Writes records to a table of ClickHouse. */
public final class ClickHouseWriter extends StoreWriter {
  /** Retention removes whole days. */
  private static final long DAY_MS = Duration.ofDays(1).toMillis();

  private final Config.ClickHouse settings;
  private final String insert;

  /** Age from which on the table does not keep a row; null if it keeps all. */
  private final Long keptMs;

  private transient ClickHouse server;
  private transient boolean isMigrated;

  /**
   * Creates a writer for a table of the configured database.
   *
   * @param sink its name in the ledger
   */
  public ClickHouseWriter(Config.ClickHouse settings, String sink, String table, Settings batches) {
    super(sink, batches);
    this.settings = settings;
    Duration retention = settings.retention(table);
    this.keptMs = retention == null ? null : retention.toMillis() + DAY_MS;
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
  }

  /** A node whose clock is at random would make a part of the table for each day. */
  @Override
  protected boolean isExpired(OutputRecord record) {
    if (keptMs == null) {
      return false;
    }
    long tsMs = Time.epochSeconds(JsonFields.text(record.value(), "ts")) * 1000;
    return tsMs < getProcessingTimeService().getCurrentProcessingTime() - keptMs;
  }

  @Override
  protected void write(List<OutputRecord> batch)
      throws RefusedException, IOException, InterruptedException {
    if (!isMigrated) {
      // Fields that a table does not have yet would be left out.
      Migrations.check(server);
      isMigrated = true;
    }
    int size = batch.stream().mapToInt(row -> row.value().length + 1).sum();
    ByteArrayOutputStream body = new ByteArrayOutputStream(size);
    for (OutputRecord row : batch) {
      body.writeBytes(row.value());
      body.write('\n');
    }
    try {
      server.insert(insert, body.toByteArray());
    } catch (ClickHouse.RefusedException error) {
      if (error.isOfData()) {
        throw new RefusedException(error.getMessage());
      }
      if (error.isUnclear()) {
        throw new UnclearException(error.getMessage(), error);
      }
      throw error;
    }
  }
}
