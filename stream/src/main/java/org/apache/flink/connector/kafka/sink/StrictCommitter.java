package org.apache.flink.connector.kafka.sink;

import java.io.IOException;
import java.lang.reflect.Field;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.List;
import org.apache.flink.api.connector.sink2.Committer;
import org.apache.flink.connector.kafka.sink.internal.KafkaCommitter;
import org.apache.flink.connector.kafka.sink.internal.TransactionFinished;
import org.apache.flink.connector.kafka.sink.internal.WritableBackchannel;
import org.apache.kafka.clients.admin.TransactionState;

/**
 * A committer that fails if the broker has aborted a transaction of a completed checkpoint. The
 * connector's own only logs this, and the records are lost.
 *
 * <p>After a restart the transactions of the last checkpoint are committed again, most of them for
 * the second time, which brokers since Kafka 4.0 refuse. Whether such a transaction was committed
 * is what the broker says about its id, as long as nothing else has used the id. So the writer gets
 * it back when a checkpoint whose state no longer has the transaction is committed: the next one,
 * or, since a savepoint is committed together with the checkpoint after it, one of the next {@value
 * #CHECKPOINTS}. A job that takes more savepoints than that between two checkpoints and then fails
 * may have to be started from one of them.
 */
final class StrictCommitter implements Committer<KafkaCommittable> {
  /** Commits after which an id is free again. */
  static final int CHECKPOINTS = 3;

  private final KafkaCommitter committer;
  private final Transactions transactions;
  private final Finished finished;

  /** What the broker knows about transactions. */
  interface Transactions {
    /** Returns the state of the newest transaction with an id. */
    TransactionState state(String id) throws IOException, InterruptedException;
  }

  /** Makes the committer of the connector strict. */
  StrictCommitter(KafkaCommitter committer, Transactions transactions) {
    this.committer = committer;
    this.transactions = transactions;
    finished = new Finished(committer.getBackchannel());
    try {
      Field field = KafkaCommitter.class.getDeclaredField("backchannel");
      field.setAccessible(true);
      field.set(committer, finished);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException("another version of the Kafka connector", e);
    }
  }

  @Override
  public void commit(Collection<CommitRequest<KafkaCommittable>> requests)
      throws IOException, InterruptedException {
    if (requests.stream().anyMatch(request -> request.getNumberOfRetries() == 0)) {
      finished.release();
    }
    List<StrictRequest> strict = requests.stream().map(StrictRequest::new).toList();
    committer.commit(List.copyOf(strict));
    for (StrictRequest request : strict) {
      if (request.refusal != null) {
        settle(request);
      }
    }
  }

  private void settle(StrictRequest request) throws IOException, InterruptedException {
    String id = request.getCommittable().getTransactionalId();
    TransactionState state = transactions.state(id);
    if (state != TransactionState.COMPLETE_COMMIT && state != TransactionState.PREPARE_COMMIT) {
      throw new IOException(
          "Kafka has aborted the transaction "
              + id
              + " of a completed checkpoint (its state is "
              + state
              + "), as it does after transaction.timeout.ms: its records are lost unless the job is"
              + " started with --from a time before that checkpoint",
          request.refusal);
    }
    request.signalAlreadyCommitted();
  }

  @Override
  public void close() throws IOException {
    committer.close();
  }

  /** Tells the writer which transactions have ended, some checkpoints later. */
  private static final class Finished implements WritableBackchannel<TransactionFinished> {
    private final WritableBackchannel<TransactionFinished> writer;
    private final Deque<List<TransactionFinished>> held = new ArrayDeque<>();

    Finished(WritableBackchannel<TransactionFinished> writer) {
      this.writer = writer;
      held.add(new ArrayList<>());
    }

    void release() {
      held.addLast(new ArrayList<>());
      if (held.size() > CHECKPOINTS) {
        held.removeFirst().forEach(writer::send);
      }
    }

    @Override
    public void send(TransactionFinished transaction) {
      held.getLast().add(transaction);
    }

    @Override
    public boolean isEstablished() {
      return writer.isEstablished();
    }

    @Override
    public void close() {
      writer.close();
    }
  }

  /** A request that keeps a refusal instead of passing it on. */
  private static final class StrictRequest implements CommitRequest<KafkaCommittable> {
    private final CommitRequest<KafkaCommittable> request;
    private Throwable refusal;

    StrictRequest(CommitRequest<KafkaCommittable> request) {
      this.request = request;
    }

    @Override
    public KafkaCommittable getCommittable() {
      return request.getCommittable();
    }

    @Override
    public int getNumberOfRetries() {
      return request.getNumberOfRetries();
    }

    @Override
    public void signalFailedWithKnownReason(Throwable reason) {
      refusal = reason;
    }

    @Override
    public void signalFailedWithUnknownReason(Throwable reason) {
      request.signalFailedWithUnknownReason(reason);
    }

    @Override
    public void retryLater() {
      request.retryLater();
    }

    @Override
    public void updateAndRetryLater(KafkaCommittable committable) {
      request.updateAndRetryLater(committable);
    }

    @Override
    public void signalAlreadyCommitted() {
      request.signalAlreadyCommitted();
    }
  }
}
