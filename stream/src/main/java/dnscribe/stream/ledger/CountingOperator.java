package dnscribe.stream.ledger;

import dnscribe.stream.kafka.KafkaRecord;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.util.OutputTag;

/**
 * An operator whose counters are part of the ledger.
 *
 * <p>The counters are state, and they leave the operator just before the barrier of each
 * checkpoint. So the {@link LedgerOperator} has the counters of all operators for one cut through
 * the stream, and they agree to the unit.
 */
public abstract class CountingOperator<I, O> extends AbstractStreamOperator<O>
    implements OneInputStreamOperator<I, O> {
  /** Side output of the counters. */
  public static final OutputTag<Counts> COUNTS =
      new OutputTag<>("counts", TypeInformation.of(Counts.class));

  private final String name;
  private final String[] counters;
  private transient long[] values;

  /** The topic that is read, and the offset after the last record read of each partition. */
  private transient String topic;

  private transient long[] offsets;
  private transient ListState<Counts> state;

  /** Creates an operator with counters at these places of the ledger. */
  protected CountingOperator(String name, String... counters) {
    this.name = name;
    this.counters = counters;
  }

  /** Returns the operator's name in the ledger's state. */
  public final String name() {
    return name;
  }

  /** Adds to the counter with this index. */
  protected final void count(int counter, long amount) {
    values[counter] += amount;
  }

  /**
   * Counts a record that was read of the operator's topic, and notes how far its partition was
   * read.
   */
  protected final void countRead(int counter, KafkaRecord record) {
    values[counter]++;
    topic = record.topic();
    setOffset(record.partition(), record.offset() + 1);
  }

  private void setOffset(int partition, long next) {
    if (partition >= offsets.length) {
      offsets = Arrays.copyOf(offsets, partition + 1);
    }
    offsets[partition] = Math.max(offsets[partition], next);
  }

  /** Settles what the counters speak of, before they are sent. */
  protected void flush() throws Exception {}

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    values = new long[counters.length];
    offsets = new long[0];
    state =
        context
            .getOperatorStateStore()
            .getListState(new ListStateDescriptor<>("counts", TypeInformation.of(Counts.class)));
    // After a change of parallelism there may be several of former subtasks, or none.
    for (Counts counts : state.get()) {
      for (int i = 0; i < counters.length; i++) {
        values[i] += counts.values().getOrDefault(counters[i], 0L);
      }
      counts.values().forEach(this::restoreOffset);
    }
  }

  @Override
  public void prepareSnapshotPreBarrier(long checkpoint) throws Exception {
    flush();
    output.collect(COUNTS, new StreamRecord<>(counts()));
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    state.update(List.of(counts()));
  }

  @Override
  public void finish() throws Exception {
    flush();
    output.collect(COUNTS, new StreamRecord<>(counts()));
    super.finish();
  }

  private void restoreOffset(String place, long next) {
    if (Counts.isOffset(place)) {
      String[] parts = place.split("/", -1);
      topic = parts[1];
      setOffset(Integer.parseInt(parts[parts.length - 1]), next);
    }
  }

  private Counts counts() {
    Map<String, Long> named = new HashMap<>();
    for (int partition = 0; partition < offsets.length; partition++) {
      if (offsets[partition] > 0) {
        named.put(Counts.offsetPlace(topic, partition), offsets[partition]);
      }
    }
    for (int i = 0; i < counters.length; i++) {
      named.put(counters[i], values[i]);
    }
    var task = getRuntimeContext().getTaskInfo();
    return new Counts(
        name, task.getIndexOfThisSubtask(), task.getNumberOfParallelSubtasks(), named);
  }
}
