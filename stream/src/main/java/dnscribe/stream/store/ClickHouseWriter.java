package dnscribe.stream.store;

import dnscribe.stream.config.Config;
import dnscribe.stream.kafka.OutputRecord;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.List;

/** Writes records to a table of ClickHouse. */
public final class ClickHouseWriter extends StoreWriter {
  private final Config.ClickHouse settings;
  private final String insert;
  private transient ClickHouse server;

  /**
   * Creates a writer for a table of the configured database.
   *
   * @param sink its name in the ledger
   */
  public ClickHouseWriter(Config.ClickHouse settings, String sink, String table, Settings batches) {
    super(sink, batches);
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
  }

  @Override
  protected void write(List<OutputRecord> batch)
      throws RefusedException, IOException, InterruptedException {
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
