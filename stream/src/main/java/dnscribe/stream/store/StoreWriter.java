package dnscribe.stream.store;

import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.record.DeadLetter;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Writes records to a store, in batches. All records of a checkpoint are in the store before it
 * completes. After a restart some are written again: the store's keys make that harmless. While the
 * store is away this operator waits, and with it the job. A record that the store refuses is
 * counted and becomes a dead letter.
 */
public abstract class StoreWriter extends CountingOperator<OutputRecord, Void> {
  private static final int RECORDS = 0;
  private static final int WRITTEN = 1;
  private static final int REFUSED = 2;
  private static final int DEAD_LETTER_RECORDS = 3;
  private static final int DEAD_LETTERS_WRITTEN = 4;
  private static final int BATCH_BYTES = 8 * 1024 * 1024;
  private static final Duration FIRST_RETRY = Duration.ofMillis(100);
  private static final Duration LAST_RETRY = Duration.ofSeconds(10);

  private final String sink;
  private final int batchRows;
  private final Duration batchWait;
  private final boolean writesDeadLetters;
  private transient List<OutputRecord> waiting;
  private transient long bytes;
  private transient boolean timerIsSet;

  /** A store's refusal of a batch because of its data; another attempt would be refused too. */
  public static final class RefusedException extends Exception {
    private static final long serialVersionUID = 1;

    /** Creates an exception with the store's message. */
    public RefusedException(String message) {
      super(message);
    }
  }

  /** Where dead letters go, and how batches are made. */
  public record Settings(
      int batchRows, Duration batchWait, String deadLetterTopic, boolean writesDeadLetters)
      implements java.io.Serializable {}

  /** Creates a writer whose counters are those of {@code sink} in the ledger. */
  protected StoreWriter(String sink, Settings settings) {
    super(
        sink,
        "output/" + sink + "/records",
        "output/" + sink + "/written",
        "output/" + sink + "/dropped/refused",
        "output/" + settings.deadLetterTopic() + "/records",
        "output/" + settings.deadLetterTopic() + "/written");
    this.sink = sink;
    this.batchRows = settings.batchRows();
    this.batchWait = settings.batchWait();
    this.writesDeadLetters = settings.writesDeadLetters();
  }

  /**
   * Writes a batch.
   *
   * @throws RefusedException if its data is wrong
   * @throws IOException if the store did not take it for another reason
   */
  protected abstract void write(List<OutputRecord> batch)
      throws RefusedException, IOException, InterruptedException;

  @Override
  public void open() throws Exception {
    super.open();
    waiting = new ArrayList<>();
  }

  @Override
  public void processElement(StreamRecord<OutputRecord> element) throws Exception {
    waiting.add(element.getValue());
    bytes += element.getValue().value().length;
    count(RECORDS, 1);
    if (waiting.size() >= batchRows || bytes >= BATCH_BYTES) {
      flush();
    } else if (!timerIsSet) {
      timerIsSet = true;
      var clock = getProcessingTimeService();
      var unused =
          clock.registerTimer(
              clock.getCurrentProcessingTime() + batchWait.toMillis(),
              time -> {
                timerIsSet = false;
                flush();
              });
    }
  }

  @Override
  protected void flush() throws Exception {
    if (!waiting.isEmpty()) {
      settle(waiting);
      waiting.clear();
      bytes = 0;
    }
  }

  /** Writes records; halves a batch with one that is refused until only this one is left out. */
  private void settle(List<OutputRecord> batch) throws InterruptedException {
    try {
      writeUntilTaken(batch);
      count(WRITTEN, batch.size());
    } catch (RefusedException error) {
      if (batch.size() > 1) {
        int half = batch.size() / 2;
        settle(batch.subList(0, half));
        settle(batch.subList(half, batch.size()));
        return;
      }
      LOG.warn("{}: a record is refused and left out: {}", sink, error.getMessage());
      count(REFUSED, 1);
      if (writesDeadLetters) {
        count(DEAD_LETTER_RECORDS, 1);
        count(DEAD_LETTERS_WRITTEN, 1);
        OutputRecord letter = DeadLetter.refused(batch.get(0), sink, error.getMessage());
        output.collect(RecordReader.DEAD_LETTERS, new StreamRecord<>(letter));
      }
    }
  }

  private void writeUntilTaken(List<OutputRecord> batch)
      throws RefusedException, InterruptedException {
    Duration wait = FIRST_RETRY;
    while (true) {
      try {
        write(batch);
        return;
      } catch (IOException error) {
        LOG.warn("{}: {} records wait: {}", sink, batch.size(), error.toString());
      }
      Thread.sleep(wait.toMillis());
      wait = wait.multipliedBy(2);
      wait = wait.compareTo(LAST_RETRY) > 0 ? LAST_RETRY : wait;
    }
  }
}
