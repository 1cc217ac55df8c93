package dnscribe.stream.store;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dnscribe.stream.config.TimescaleDbConfig;
import dnscribe.stream.kafka.OutputRecord;
import java.io.IOException;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Writes the job's ledger to TimescaleDB, each record once its checkpoint has completed. Records
 * wait in the job's state while the server is away. It has one subtask.
 */
public final class LedgerWriter extends AbstractStreamOperator<Void>
    implements OneInputStreamOperator<OutputRecord, Void> {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final String INSERT =
      "INSERT INTO stream_ledger (ts, event_id, job, checkpoint, balanced, late, input, output)"
          + " VALUES (?::timestamptz, ?, ?, ?, ?, ?, ?::jsonb, ?::jsonb) ON CONFLICT DO NOTHING";

  private static final Duration LAST_WRITE = Duration.ofSeconds(5);

  private final TimescaleDbConfig settings;

  /** Records since the last checkpoint. */
  private transient List<OutputRecord> current;

  /** Records by the checkpoint that has to complete before they are written. */
  private transient TreeMap<Long, List<OutputRecord>> waiting;

  private transient ListState<OutputRecord> state;

  /** A server that does not answer must not hold up the job. */
  private transient ExecutorService sender;

  /** What is being written, or was; null if there is nothing new. */
  private transient Future<?> sending;

  /** Last checkpoint whose records these are. */
  private transient long sendingTo;

  /** Creates a writer to the table {@code stream_ledger}. */
  public LedgerWriter(TimescaleDbConfig settings) {
    this.settings = settings;
  }

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    current = new ArrayList<>();
    waiting = new TreeMap<>();
    TypeInformation<OutputRecord> type = TypeInformation.of(OutputRecord.class);
    state =
        context.getOperatorStateStore().getListState(new ListStateDescriptor<>("waiting", type));
    List<OutputRecord> restored = new ArrayList<>();
    state.get().forEach(restored::add);
    if (!restored.isEmpty()) {
      // The checkpoint that the job restarts from has completed.
      waiting.put(context.getRestoredCheckpointId().orElse(0), restored);
    }
  }

  @Override
  public void open() throws Exception {
    super.open();
    sender =
        Executors.newSingleThreadExecutor(work -> new Thread(work, "timescaledb.stream_ledger"));
  }

  @Override
  public void close() throws Exception {
    if (sender != null) {
      // The records of a job's last checkpoint.
      sender.shutdown();
      boolean isWritten = sender.awaitTermination(LAST_WRITE.toSeconds(), TimeUnit.SECONDS);
      LOG.debug("timescaledb: the last ledger records are written: {}", isWritten);
      sender.shutdownNow();
    }
    super.close();
  }

  @Override
  public void processElement(StreamRecord<OutputRecord> element) {
    current.add(element.getValue());
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    if (!current.isEmpty()) {
      waiting.put(context.getCheckpointId(), current);
      current = new ArrayList<>();
    }
    List<OutputRecord> all = new ArrayList<>();
    waiting.values().forEach(all::addAll);
    state.update(all);
  }

  @Override
  public void notifyCheckpointComplete(long checkpoint) throws Exception {
    super.notifyCheckpointComplete(checkpoint);
    if (sending != null && !sending.isDone()) {
      return;
    }
    settle();
    List<List<OutputRecord>> complete = List.copyOf(waiting.headMap(checkpoint, true).values());
    if (!complete.isEmpty()) {
      sendingTo = checkpoint;
      sending =
          sender.submit(
              () -> {
                write(complete);
                return null;
              });
    }
  }

  /** Forgets the records that were written since the last call. */
  private void settle() throws InterruptedException {
    if (sending == null) {
      return;
    }
    try {
      sending.get();
      waiting.headMap(sendingTo, true).clear();
    } catch (ExecutionException error) {
      LOG.warn(
          "timescaledb: {} ledger records wait for the next checkpoint: {}",
          waiting.size(),
          error.getCause().toString());
    }
    sending = null;
  }

  private void write(Iterable<List<OutputRecord>> batches) throws IOException, SQLException {
    try (Connection connection = Postgres.connect(settings);
        PreparedStatement insert = connection.prepareStatement(INSERT)) {
      for (List<OutputRecord> batch : batches) {
        for (OutputRecord record : batch) {
          JsonNode ledger = JSON.readTree(record.value());
          insert.setString(1, ledger.path("ts").asText());
          insert.setString(2, ledger.path("event_id").asText());
          insert.setString(3, ledger.path("job").asText());
          insert.setLong(4, ledger.path("checkpoint").asLong());
          insert.setBoolean(5, ledger.path("balanced").asBoolean());
          insert.setLong(6, ledger.path("late").asLong());
          insert.setString(7, ledger.path("input").toString());
          insert.setString(8, ledger.path("output").toString());
          insert.addBatch();
        }
      }
      insert.executeBatch();
    }
  }
}
