package dnscribe.stream.store;

import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.record.DeadLetter;
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
 * Writes records to a store, in batches: a thread sends one while the next fills. All records of a
 * checkpoint are in the store before it completes. After a restart some are written again: the
 * store's keys make that harmless. While the store is away this operator waits, and with it the
 * job. A record that the store refuses is counted and leaves this operator as a dead letter.
 */
public abstract class StoreWriter extends CountingOperator<OutputRecord, OutputRecord> {
  private static final int RECORDS = 0;
  private static final int WRITTEN = 1;
  private static final int REFUSED = 2;
  private static final int EXPIRED = 3;
  private static final int DEAD_LETTER_RECORDS = 4;
  private static final int DEAD_LETTERS_WRITTEN = 5;
  private static final Duration FIRST_RETRY = Duration.ofMillis(100);
  private static final Duration LAST_RETRY = Duration.ofSeconds(10);

  /** Attempts for a batch that a store refuses for a reason that is not known to be transient. */
  private static final int ATTEMPTS = 7;

  /**
   * Attempts for a batch of which the store takes no row by itself either: that is rather a fault
   * of the store, which is given about a minute. A checkpoint waits for less than five.
   */
  private static final int ATTEMPTS_OF_ALL = 12;

  /** Attempts for a part of a batch that was refused after {@link #ATTEMPTS}. */
  private static final int ATTEMPTS_OF_PART = 2;

  /** Refused rows of a batch after which its other parts have one attempt. */
  private static final int MANY_REFUSED = 64;

  private final String sink;
  private final int batchRows;
  private final int batchBytes;
  private final Duration batchWait;
  private final boolean writesDeadLetters;
  private transient ExecutorService sender;

  /** The batch that is being sent, and what of it is refused; null if there is none. */
  private transient Future<List<Refused>> sending;

  private transient int sendingRows;
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

  /**
   * A store's answer that may be about the data of a batch or about the store: it counts as a
   * refusal after some attempts.
   */
  public static final class UnclearException extends IOException {
    private static final long serialVersionUID = 1;

    /** Creates an exception with the store's message. */
    public UnclearException(String message, Throwable cause) {
      super(message, cause);
    }
  }

  /** A record that the store does not take, and what it says about it. */
  private record Refused(OutputRecord record, String message) {}

  /** Where dead letters go, and how batches are made. */
  public record Settings(
      int batchRows,
      int batchBytes,
      Duration batchWait,
      String deadLetterTopic,
      boolean writesDeadLetters)
      implements java.io.Serializable {}

  /** Creates a writer whose counters are those of {@code sink} in the ledger. */
  protected StoreWriter(String sink, Settings settings) {
    super(
        sink,
        "output/" + sink + "/records",
        "output/" + sink + "/written",
        "output/" + sink + "/dropped/refused",
        "output/" + sink + "/dropped/expired",
        "output/" + settings.deadLetterTopic() + "/records",
        "output/" + settings.deadLetterTopic() + "/written");
    this.sink = sink;
    this.batchRows = settings.batchRows();
    this.batchBytes = settings.batchBytes();
    this.batchWait = settings.batchWait();
    this.writesDeadLetters = settings.writesDeadLetters();
  }

  /**
   * Writes a batch, in a thread of its own.
   *
   * @throws RefusedException if its data is wrong
   * @throws UnclearException if its data may be wrong
   * @throws IOException if the store is away or cannot take it now
   */
  protected abstract void write(List<OutputRecord> batch)
      throws RefusedException, IOException, InterruptedException;

  /** Returns whether the store would remove a record at once, because it is that old. */
  protected boolean isExpired(OutputRecord record) {
    return false;
  }

  /** Waits before the next attempt. */
  void pause(Duration wait) throws InterruptedException {
    Thread.sleep(wait.toMillis());
  }

  @Override
  public void open() throws Exception {
    super.open();
    waiting = new ArrayList<>();
    sender = Executors.newSingleThreadExecutor(work -> new Thread(work, sink));
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
    count(RECORDS, 1);
    if (isExpired(element.getValue())) {
      count(EXPIRED, 1);
      return;
    }
    waiting.add(element.getValue());
    bytes += element.getValue().value().length;
    if (waiting.size() >= batchRows || bytes >= batchBytes) {
      send();
    } else if (!timerIsSet) {
      timerIsSet = true;
      var clock = getProcessingTimeService();
      var unused =
          clock.registerTimer(
              clock.getCurrentProcessingTime() + batchWait.toMillis(),
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

  /** Hands the collected records to the thread, once it has sent the batch before. */
  private void send() throws InterruptedException, ExecutionException {
    if (waiting.isEmpty()) {
      return;
    }
    settle();
    List<OutputRecord> batch = waiting;
    sendingRows = batch.size();
    sending =
        sender.submit(
            () -> {
              List<Refused> refused = new ArrayList<>();
              write(batch, ATTEMPTS, refused);
              return refused;
            });
    waiting = new ArrayList<>(batch.size());
    bytes = 0;
  }

  /** Waits for the batch that is being sent, and counts its records. */
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
        count(DEAD_LETTER_RECORDS, 1);
        count(DEAD_LETTERS_WRITTEN, 1);
        output.collect(new StreamRecord<>(DeadLetter.refused(one.record, sink, one.message)));
      }
    }
  }

  /** Writes records; halves a batch with one that is refused until only this one is left out. */
  private void write(List<OutputRecord> batch, int attempts, List<Refused> refused)
      throws InterruptedException {
    try {
      writeUntilTaken(batch, attempts);
    } catch (RefusedException error) {
      if (batch.size() == 1) {
        LOG.warn("{}: a record is refused and left out: {}", sink, error.getMessage());
        refused.add(new Refused(batch.get(0), error.getMessage()));
        return;
      }
      int half = batch.size() / 2;
      write(batch.subList(0, half), attemptsOfPart(refused), refused);
      write(batch.subList(half, batch.size()), attemptsOfPart(refused), refused);
    }
  }

  private static int attemptsOfPart(List<Refused> refused) {
    return refused.size() < MANY_REFUSED ? ATTEMPTS_OF_PART : 1;
  }

  /** Writes a batch, however long the store is away. */
  private void writeUntilTaken(List<OutputRecord> batch, int attempts)
      throws RefusedException, InterruptedException {
    Duration wait = FIRST_RETRY;
    int unclear = 0;
    while (true) {
      try {
        write(batch);
        return;
      } catch (UnclearException error) {
        unclear++;
        LOG.warn(
            "{}: attempt {} with {} records: {}", sink, unclear, batch.size(), error.toString());
        boolean isPart = attempts < ATTEMPTS;
        boolean isRefused = unclear >= attempts && (isPart || !refusesAll(batch));
        if (isRefused || unclear == ATTEMPTS_OF_ALL) {
          throw new RefusedException(error.getMessage());
        }
      } catch (IOException error) {
        LOG.warn("{}: {} records wait: {}", sink, batch.size(), error.toString());
      }
      pause(wait);
      wait = wait.multipliedBy(2);
      wait = wait.compareTo(LAST_RETRY) > 0 ? LAST_RETRY : wait;
    }
  }

  /** Returns whether the store takes none of some rows of a batch of several by itself. */
  private boolean refusesAll(List<OutputRecord> batch) throws InterruptedException {
    int last = batch.size() - 1;
    if (last == 0) {
      return false;
    }
    for (int row : new int[] {0, last / 2, last}) {
      try {
        write(batch.subList(row, row + 1));
        return false;
      } catch (UnclearException error) {
        LOG.debug("{}: a single row is refused, too: {}", sink, error.toString());
      } catch (RefusedException error) {
        // Its data is wrong, for certain.
        return false;
      } catch (IOException error) {
        return true;
      }
    }
    return true;
  }
}
