package dnscribe.stream.enrich;

import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.time.Duration;
import org.apache.flink.api.common.state.StateTtlConfig;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Lets the first record with an {@code event_id} pass. An agent that was killed sends again what
 * the broker had not acknowledged to it.
 *
 * <p>The stream's key is the second half of the id, the state the first half: 16 bytes for an id.
 * Of two ids with the same key, which one in 2⁶⁴ pairs is, only the later is remembered.
 */
final class Deduplicator extends CountingOperator<OutputRecord, OutputRecord> {
  private static final int UNIQUE = 0;
  private static final int DUPLICATES = 1;
  private static final int RECORDS = 2;
  private static final int WRITTEN = 3;

  /** Entries whose age is checked with each access to the state, where it is on the heap. */
  private static final int CLEANED_ENTRIES = 2;

  private final Duration remembered;
  private final boolean toTopic;
  private transient ValueState<Long> seen;

  /**
   * Creates an operator.
   *
   * @param input topic of the transactions
   * @param output topic of the enriched records
   * @param toTopic whether the records go to that topic
   */
  Deduplicator(String input, String output, boolean toTopic, Duration remembered) {
    super(
        "deduplicator",
        "input/" + input + "/unique",
        "input/" + input + "/duplicates",
        "output/" + output + "/records",
        "output/" + output + "/written");
    this.remembered = remembered;
    this.toTopic = toTopic;
  }

  /** Returns the stream's key of a record. */
  static Long key(OutputRecord record) {
    return Long.parseUnsignedLong(record.eventId(), 16, 32, 16);
  }

  @Override
  public void open() throws Exception {
    super.open();
    ValueStateDescriptor<Long> descriptor = new ValueStateDescriptor<>("ids", Types.LONG);
    descriptor.enableTimeToLive(
        StateTtlConfig.newBuilder(remembered)
            .setUpdateType(StateTtlConfig.UpdateType.OnCreateAndWrite)
            .cleanupFullSnapshot()
            .cleanupIncrementally(CLEANED_ENTRIES, false)
            .build());
    seen = getRuntimeContext().getState(descriptor);
  }

  @Override
  public void processElement(StreamRecord<OutputRecord> element) throws Exception {
    long first = Long.parseUnsignedLong(element.getValue().eventId(), 0, 16, 16);
    Long known = seen.value();
    if (known != null && known == first) {
      count(DUPLICATES, 1);
      return;
    }
    seen.update(first);
    count(UNIQUE, 1);
    if (toTopic) {
      // Its transaction in Kafka is committed with the checkpoint that has these counters.
      count(RECORDS, 1);
      count(WRITTEN, 1);
    }
    output.collect(element);
  }
}
