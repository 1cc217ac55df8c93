package dnscribe.stream.store;

import dnscribe.stream.config.Config;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.record.DeadLetter;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Writes records to a table, in batches: a thread sends one while the next fills. All rows of a
 * checkpoint are in the table before it completes. After a restart rows are written again: the
 * table's key makes that harmless. While the server is away this operator waits, and with it the
 * job. Rows whose data the server refuses leave it as dead letters.
 */
public final class ClickHouseWriter extends CountingOperator<OutputRecord, OutputRecord> {
  private static final int RECORDS = 0;
  private static final int WRITTEN = 1;
  private static final int REFUSED = 2;
  private static final int DEAD_LETTERS = 3;
  private static final int DEAD_LETTERS_WRITTEN = 4;
  private static final int BATCH_BYTES = 8 * 1024 * 1024;
  private static final Duration FIRST_RETRY = Duration.ofMillis(100);
  private static final Duration LAST_RETRY = Duration.ofSeconds(10);

  private final Config.ClickHouse settings;
  private final boolean writesDeadLetters;
  private final String insert;
  private transient ClickHouse server;
  private transient ExecutorService sender;

  /** Rows that are refused of the batch that is being sent; null if there is none. */
  private transient Future<List<Refused>> sending;

  /** Rows of that batch. */
  private transient int sendingRows;

  private transient List<OutputRecord> rows;
  private transient long bytes;
  private transient boolean timerIsSet;

  /** A row that the server does not take, and what it says about it. */
  private record Refused(OutputRecord row, String message) {}

  /**
   * Creates a writer for a table of the configured database.
   *
   * @param writesDeadLetters false for a backfill, whose dead letters are in the topic already
   */
  public ClickHouseWriter(
      Config.ClickHouse settings, String table, String deadLetterTopic, boolean writesDeadLetters) {
    super(
        "clickhouse",
        "output/clickhouse/records",
        "output/clickhouse/written",
        "output/clickhouse/dropped/refused",
        "output/" + deadLetterTopic + "/records",
        "output/" + deadLetterTopic + "/written");
    this.settings = settings;
    this.writesDeadLetters = writesDeadLetters;
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
    sender = Executors.newSingleThreadExecutor(work -> new Thread(work, "clickhouse"));
    rows = new ArrayList<>();
  }

  @Override
  public void close() throws Exception {
    if (sender != null) {
      sender.shutdownNow();
    }
    super.close();
  }

  @Override
  public void processElement(StreamRecord<OutputRecord> element) throws Exception {
    OutputRecord row = element.getValue();
    rows.add(row);
    bytes += row.value().length;
    count(RECORDS, 1);
    if (rows.size() >= settings.batchRows() || bytes >= BATCH_BYTES) {
      send();
    } else if (!timerIsSet) {
      timerIsSet = true;
      var clock = getProcessingTimeService();
      var unused =
          clock.registerTimer(
              clock.getCurrentProcessingTime() + settings.batchWait().toMillis(),
              time -> {
                timerIsSet = false;
                send();
              });
    }
  }

  @Override
  protected void flush() throws Exception {
    send();
    settle();
  }

  /** Hands the collected rows to the thread, once it has sent the batch before. */
  private void send() throws InterruptedException, ExecutionException {
    if (rows.isEmpty()) {
      return;
    }
    settle();
    List<OutputRecord> batch = rows;
    sendingRows = batch.size();
    sending =
        sender.submit(
            () -> {
              List<Refused> refused = new ArrayList<>();
              write(batch, refused);
              return refused;
            });
    rows = new ArrayList<>(batch.size());
    bytes = 0;
  }

  /** Waits for the batch that is being sent, and counts its rows. */
  private void settle() throws InterruptedException, ExecutionException {
    if (sending == null) {
      return;
    }
    List<Refused> refused = sending.get();
    sending = null;
    count(WRITTEN, sendingRows - refused.size());
    count(REFUSED, refused.size());
    if (writesDeadLetters) {
      for (Refused one : refused) {
        count(DEAD_LETTERS, 1);
        count(DEAD_LETTERS_WRITTEN, 1);
        output.collect(new StreamRecord<>(DeadLetter.refused(one.row, "clickhouse", one.message)));
      }
    }
  }

  /** Writes rows; halves a batch with rows that are refused until only these are left out. */
  private void write(List<OutputRecord> batch, List<Refused> refused) throws InterruptedException {
    String message = insert(batch);
    if (message == null) {
      return;
    }
    if (batch.size() == 1) {
      refused.add(new Refused(batch.get(0), message));
      return;
    }
    int half = batch.size() / 2;
    write(batch.subList(0, half), refused);
    write(batch.subList(half, batch.size()), refused);
  }

  /** Returns null if the server took the batch, else what it says is wrong with its data. */
  private String insert(List<OutputRecord> batch) throws InterruptedException {
    int size = batch.stream().mapToInt(row -> row.value().length + 1).sum();
    ByteArrayOutputStream body = new ByteArrayOutputStream(size);
    for (OutputRecord row : batch) {
      body.writeBytes(row.value());
      body.write('\n');
    }
    byte[] data = body.toByteArray();
    Duration wait = FIRST_RETRY;
    while (true) {
      try {
        server.insert(insert, data);
        return null;
      } catch (ClickHouse.RefusedException error) {
        LOG.warn("clickhouse: an insert is refused: {}", error.getMessage());
        if (error.isOfData()) {
          return error.getMessage();
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
