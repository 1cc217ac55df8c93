package dnscribe.stream.store;

import dnscribe.stream.config.TimescaleDbConfig;
import dnscribe.stream.kafka.OutputRecord;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * Writes records to a table of TimescaleDB by one of the functions of {@code stores/timescaledb},
 * which take an array of records.
 */
public final class TimescaleDbWriter extends StoreWriter {
  /** Classes of SQLSTATE that mean that the data is wrong: data, constraints, limits. */
  private static final Set<String> DATA_CLASSES = Set.of("22", "23", "54");

  /**
   * Classes of SQLSTATE about the connection, the server, its load or its schema: rows are taken
   * once that is mended.
   */
  private static final Set<String> SERVER_CLASSES =
      Set.of("08", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58", "F0");

  private static final Duration FIRST_RETENTION = Duration.ofMinutes(1);
  private static final Duration NEXT_RETENTION = Duration.ofHours(1);

  private final TimescaleDbConfig settings;
  private final boolean appliesRetention;
  private final String call;
  private transient volatile Connection connection;
  private transient boolean isMigrated;

  /** Its statements may wait for readers of a table, and must not hold up the job. */
  private transient ScheduledExecutorService retention;

  /**
   * Creates a writer.
   *
   * @param table whose name is part of the sink's name in the ledger
   * @param call a function call with one parameter, the records
   * @param appliesRetention whether this writer also drops old chunks of all tables, each hour
   */
  public TimescaleDbWriter(
      TimescaleDbConfig settings,
      String table,
      String call,
      Settings batches,
      boolean appliesRetention) {
    super("timescaledb." + table, batches);
    this.appliesRetention = appliesRetention;
    this.settings = settings;
    this.call = "SELECT " + call;
  }

  @Override
  public void open() throws Exception {
    super.open();
    if (appliesRetention && getRuntimeContext().getTaskInfo().getIndexOfThisSubtask() == 0) {
      retention = Executors.newSingleThreadScheduledExecutor(work -> new Thread(work, "retention"));
      var unused =
          retention.scheduleWithFixedDelay(
              () -> Retention.apply(settings),
              FIRST_RETENTION.toSeconds(),
              NEXT_RETENTION.toSeconds(),
              TimeUnit.SECONDS);
    }
  }

  @Override
  protected void write(List<OutputRecord> batch) throws RefusedException, IOException {
    StringBuilder records = new StringBuilder("[");
    for (OutputRecord record : batch) {
      records.append(records.length() == 1 ? "" : ",");
      records.append(new String(record.value(), StandardCharsets.UTF_8));
    }
    records.append(']');
    try {
      if (connection == null) {
        connection = Postgres.connect(settings);
      }
      if (!isMigrated) {
        // Fields that a table does not have yet would be left out.
        Migrations.check(connection);
        isMigrated = true;
      }
      try (PreparedStatement statement = connection.prepareStatement(call)) {
        statement.setString(1, records.toString());
        statement.execute();
      }
    } catch (SQLException error) {
      String state = error.getSQLState();
      String kind = state != null && state.length() == 5 ? state.substring(0, 2) : "08";
      if (DATA_CLASSES.contains(kind)) {
        throw new RefusedException(error.getMessage());
      }
      disconnect();
      String message = "TimescaleDB at " + settings.url() + ": " + error.getMessage();
      throw SERVER_CLASSES.contains(kind)
          ? new IOException(message, error)
          : new UnclearException(message, error);
    }
  }

  @Override
  public void close() throws Exception {
    if (retention != null) {
      retention.shutdownNow();
    }
    super.close();
    disconnect();
  }

  private void disconnect() {
    Connection former = connection;
    connection = null;
    if (former != null) {
      try {
        former.close();
      } catch (SQLException error) {
        LOG.debug("timescaledb: cannot close a connection", error);
      }
    }
  }
}
