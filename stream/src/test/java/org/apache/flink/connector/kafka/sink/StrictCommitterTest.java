package org.apache.flink.connector.kafka.sink;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.flink.api.connector.sink2.Committer.CommitRequest;
import org.apache.flink.connector.kafka.sink.internal.BackchannelFactory;
import org.apache.flink.connector.kafka.sink.internal.FlinkKafkaInternalProducer;
import org.apache.flink.connector.kafka.sink.internal.KafkaCommitter;
import org.apache.flink.connector.kafka.sink.internal.ReadableBackchannel;
import org.apache.flink.connector.kafka.sink.internal.TransactionFinished;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.common.errors.InvalidTxnStateException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** What becomes of transactions that the broker refuses to commit, and of their ids. */
class StrictCommitterTest {
  private static final Properties PROPERTIES = properties();

  private final List<AutoCloseable> open = new ArrayList<>();

  /** What the broker answers to the next commit; null if it commits. */
  private RuntimeException refusal;

  /** What the broker says about a transaction that it refuses to commit. */
  private TransactionState state = TransactionState.COMPLETE_ABORT;

  private final ReadableBackchannel<TransactionFinished> writer =
      BackchannelFactory.getInstance().getReadableBackchannel(0, 0, "prefix");
  private final StrictCommitter committer =
      new StrictCommitter(
          new KafkaCommitter(
              PROPERTIES, "prefix", 0, 0, true, (properties, id) -> new Producer(properties)),
          id -> state);

  private static Properties properties() {
    Properties properties = new Properties();
    properties.put("bootstrap.servers", "localhost:1");
    properties.put("key.serializer", ByteArraySerializer.class.getName());
    properties.put("value.serializer", ByteArraySerializer.class.getName());
    return properties;
  }

  private final class Producer extends FlinkKafkaInternalProducer<byte[], byte[]> {
    Producer(Properties properties) {
      super(properties);
      open.add(this);
    }

    @Override
    public void setTransactionId(String id) {}

    @Override
    public void resumeTransaction(long producer, short epoch) {}

    @Override
    public void commitTransaction() {
      if (refusal != null) {
        throw refusal;
      }
    }
  }

  /** A request of Flink. */
  private static final class Request implements CommitRequest<KafkaCommittable> {
    private final KafkaCommittable committable;
    private int retries;
    private boolean isCommitted;

    Request(String id) {
      committable = new KafkaCommittable(1, (short) 1, id, null);
    }

    @Override
    public KafkaCommittable getCommittable() {
      return committable;
    }

    @Override
    public int getNumberOfRetries() {
      return retries;
    }

    @Override
    public void signalFailedWithKnownReason(Throwable reason) {}

    @Override
    public void signalFailedWithUnknownReason(Throwable reason) {
      throw new IllegalStateException(reason);
    }

    @Override
    public void retryLater() {
      retries++;
    }

    @Override
    public void updateAndRetryLater(KafkaCommittable changed) {}

    @Override
    public void signalAlreadyCommitted() {
      isCommitted = true;
    }
  }

  @AfterEach
  void close() throws Exception {
    committer.close();
    writer.close();
    for (AutoCloseable one : open) {
      one.close();
    }
  }

  @Test
  void abortedTransactionsEndTheJob() {
    for (RuntimeException error :
        List.of(new InvalidTxnStateException("aborted"), new ProducerFencedException("fenced"))) {
      refusal = error;
      assertThatThrownBy(() -> commit(new Request("id-1")))
          .isInstanceOf(IOException.class)
          .hasMessageContaining("id-1")
          .hasMessageContaining("transaction.timeout.ms")
          .hasCause(error);
    }
  }

  @Test
  void transactionsThatWereCommittedBeforeARestartAreNoLoss() throws Exception {
    refusal = new ProducerFencedException("committed, and its epoch is used up");
    state = TransactionState.COMPLETE_COMMIT;
    Request request = new Request("id-1");
    commit(request);
    assertThat(request.isCommitted).isTrue();
  }

  /** A savepoint is committed together with the checkpoint after it, whose state has both. */
  @Test
  void idsAreFreeOnceNoCheckpointHasThem() throws Exception {
    for (String id : List.of("id-1", "id-2", "id-3")) {
      commit(new Request(id));
      assertThat(writer.poll()).isNull();
    }
    refusal = new TimeoutException("later");
    Request retried = new Request("id-4");
    commit(retried);
    assertThat(writer.poll()).isEqualTo(TransactionFinished.successful("id-1"));
    refusal = null;
    commit(retried);
    assertThat(writer.poll()).isNull();
    commit(new Request("id-1"));
    assertThat(writer.poll()).isEqualTo(TransactionFinished.successful("id-2"));
  }

  private void commit(Request request) throws IOException, InterruptedException {
    committer.commit(List.of(request));
  }
}
