package dnscribe.stream.enrich;

import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.time.Duration;
import java.util.HexFormat;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.StateTtlConfig;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Lets the first record with an {@code event_id} pass. An agent that was killed sends again what
 * the broker had not acknowledged to it.
 *
 * <p>The stream's key is a page, a part of all ids. Where state is objects on Java's heap, a page
 * is one {@link IdTable}: an object for each id would take six times as much memory, and most of
 * the processor's time would be garbage collection. Where state is on disk, each id has an entry.
 */
final class Deduplicator extends CountingOperator<OutputRecord, OutputRecord> {
  private static final int UNIQUE = 0;
  private static final int DUPLICATES = 1;
  private static final int RECORDS = 2;
  private static final int WRITTEN = 3;

  /** Pages: enough that each of hundreds of subtasks has about as many of them. */
  private static final int PAGES = 8192;

  /** Periods for which a page remembers an id. */
  private static final int PERIODS = 64;

  private final Duration remembered;
  private final long periodMs;

  /** The ids of a page; null where state is on disk. */
  private transient ValueState<long[]> page;

  /** By the second half of the ids of a page, their first half; null where state is on the heap. */
  private transient MapState<Long, Long> ids;

  /**
   * Creates an operator.
   *
   * @param input topic of the transactions
   * @param output topic of the enriched records
   */
  Deduplicator(String input, String output, Duration remembered) {
    super(
        "deduplicator",
        "input/" + input + "/unique",
        "input/" + input + "/duplicates",
        "output/" + output + "/records",
        "output/" + output + "/written");
    this.remembered = remembered;
    this.periodMs = Math.max(1, remembered.toMillis() / PERIODS);
  }

  /** Returns the page of a record. */
  static Integer key(OutputRecord record) {
    return (int) secondHalf(record) & (PAGES - 1);
  }

  private static long secondHalf(OutputRecord record) {
    return HexFormat.fromHexDigitsToLong(record.eventId(), 16, 32);
  }

  @Override
  public void open() throws Exception {
    super.open();
    if (!getKeyedStateBackend().getBackendTypeIdentifier().equals("hashmap")) {
      MapStateDescriptor<Long, Long> descriptor =
          new MapStateDescriptor<>("ids", Types.LONG, Types.LONG);
      descriptor.enableTimeToLive(StateTtlConfig.newBuilder(remembered).build());
      ids = getRuntimeContext().getMapState(descriptor);
    } else {
      page =
          getRuntimeContext()
              .getState(
                  new ValueStateDescriptor<>(
                      "pages", PrimitiveArrayTypeInfo.LONG_PRIMITIVE_ARRAY_TYPE_INFO));
    }
  }

  @Override
  public void processElement(StreamRecord<OutputRecord> element) throws Exception {
    long high = HexFormat.fromHexDigitsToLong(element.getValue().eventId(), 0, 16);
    if (!add(high, secondHalf(element.getValue()))) {
      count(DUPLICATES, 1);
      return;
    }
    count(UNIQUE, 1);
    // Its transaction in Kafka is committed with the checkpoint that has these counters.
    count(RECORDS, 1);
    count(WRITTEN, 1);
    output.collect(element);
  }

  /** Adds an id; returns whether it is new. */
  private boolean add(long high, long low) throws Exception {
    if (ids != null) {
      Long known = ids.get(low);
      if (known != null && known == high) {
        return false;
      }
      ids.put(low, high);
      return true;
    }
    long[] known = page.value();
    long period = getProcessingTimeService().getCurrentProcessingTime() / periodMs;
    long[] table =
        IdTable.add(known == null ? IdTable.create() : known, high, low, period, PERIODS);
    if (table != null) {
      page.update(table);
    }
    return table != null;
  }
}
