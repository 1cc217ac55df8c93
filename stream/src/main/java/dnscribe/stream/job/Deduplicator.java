package dnscribe.stream.job;

import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.time.Duration;
import java.util.List;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Lets the first record with an {@code event_id} pass. An agent that was killed sends again what
 * the broker had not acknowledged to it.
 *
 * <p>Time is that at which records were written to Kafka, in the slowest partition: while the job
 * is away, or reads a backlog, no id is forgotten.
 *
 * <p>The stream's key is a page, a part of all ids. Where state is objects on Java's heap, a page
 * is one {@link IdTable}: an object for each id would take six times as much memory, and most of
 * the processor's time would be garbage collection. Where state is on disk, each id has an entry in
 * the generation of its time, of which a page has two.
 */
public final class Deduplicator extends CountingOperator<OutputRecord, OutputRecord> {
  private static final int UNIQUE = 0;
  private static final int DUPLICATES = 1;

  /** Pages: enough that each of hundreds of subtasks has about as many of them. */
  private static final int PAGES = 8192;

  /** Periods for which a page remembers an id. */
  private static final int PERIODS = 64;

  /** Silence after which a partition holds nobody up: longer than a change of its leader. */
  private static final Duration IDLE = Duration.ofSeconds(30);

  private final int counters;
  private final long rememberedMs;
  private transient long watermark;

  /** The ids of a page; null where state is on disk. */
  private transient ValueState<long[]> page;

  /**
   * By the second half of the ids of a page, their first half: those of even and of odd
   * generations. Null where state is on the heap.
   */
  private transient List<MapState<Long, Long>> generations;

  /** The newest generation of a page. */
  private transient ValueState<Long> newest;

  /**
   * Creates an operator.
   *
   * @param name of the operator in the ledger's state
   * @param input topic of the records
   * @param written places of the ledger that count the records that pass, too
   */
  public Deduplicator(String name, String input, Duration remembered, String... written) {
    super(name, counters(input, written));
    this.counters = written.length;
    this.rememberedMs = Math.max(PERIODS, remembered.toMillis());
  }

  private static String[] counters(String input, String... written) {
    String[] all = new String[2 + written.length];
    all[UNIQUE] = "input/" + input + "/unique";
    all[DUPLICATES] = "input/" + input + "/duplicates";
    System.arraycopy(written, 0, all, 2, written.length);
    return all;
  }

  /** Returns watermarks of the times at which records were written to Kafka. */
  public static WatermarkStrategy<KafkaRecord> recordTime() {
    return WatermarkStrategy.<KafkaRecord>forMonotonousTimestamps()
        // Producers may write any time: one in the future must not make ids old.
        .withTimestampAssigner((record, time) -> Math.min(time, System.currentTimeMillis()))
        .withIdleness(IDLE);
  }

  /** Returns the page of a record. */
  public static Integer key(OutputRecord record) {
    return page(record.idLow());
  }

  private static int page(long low) {
    return (int) low & (PAGES - 1);
  }

  @Override
  public void open() throws Exception {
    super.open();
    watermark = Long.MIN_VALUE;
    var context = getRuntimeContext();
    if (getKeyedStateBackend().getBackendTypeIdentifier().equals("hashmap")) {
      page =
          context.getState(
              new ValueStateDescriptor<>(
                  "pages", PrimitiveArrayTypeInfo.LONG_PRIMITIVE_ARRAY_TYPE_INFO));
    } else {
      generations =
          List.of(
              context.getMapState(new MapStateDescriptor<>("even", Types.LONG, Types.LONG)),
              context.getMapState(new MapStateDescriptor<>("odd", Types.LONG, Types.LONG)));
      newest = context.getState(new ValueStateDescriptor<>("newest", Types.LONG));
    }
  }

  @Override
  public void processWatermark(Watermark mark) throws Exception {
    watermark = mark.getTimestamp() == Long.MAX_VALUE ? watermark : mark.getTimestamp();
    super.processWatermark(mark);
  }

  @Override
  public void processElement(StreamRecord<OutputRecord> element) throws Exception {
    long high = element.getValue().idHigh();
    long low = element.getValue().idLow();
    // Before the first watermark after a start it is not known how much time has passed.
    boolean isTimed = watermark != Long.MIN_VALUE;
    long nowMs = isTimed ? watermark : element.hasTimestamp() ? element.getTimestamp() : 0;
    if (!(page == null ? addToDisk(high, low, nowMs, isTimed) : add(high, low, nowMs, isTimed))) {
      count(DUPLICATES, 1);
      return;
    }
    count(UNIQUE, 1);
    // A transaction in Kafka is committed with the checkpoint that has these counters.
    for (int i = 0; i < counters; i++) {
      count(2 + i, 1);
    }
    output.collect(element);
  }

  /** Adds an id; returns whether it is new. */
  private boolean add(long high, long low, long nowMs, boolean isTimed) throws Exception {
    long[] known = page.value();
    long period = nowMs / (rememberedMs / PERIODS);
    long[] table =
        IdTable.add(
            known == null ? IdTable.create() : known,
            high,
            low,
            period,
            isTimed ? PERIODS : IdTable.FOR_EVER);
    if (table != null) {
      page.update(table);
    }
    return table != null;
  }

  private boolean addToDisk(long high, long low, long nowMs, boolean isTimed) throws Exception {
    // Pages begin a generation one after the other: the end of the one before takes its time.
    long now = (nowMs + rememberedMs / PAGES * page(low)) / rememberedMs;
    Long last = newest.value();
    if (last == null) {
      newest.update(now);
    } else if (isTimed && now > last) {
      generations.get((int) (now & 1)).clear();
      if (now > last + 1) {
        generations.get((int) (last & 1)).clear();
      }
      newest.update(now);
    } else if (isTimed && now + 1 < last) {
      // Ids are remembered for longer than before a restart, which makes generations fewer.
      newest.update(now);
    } else {
      now = last;
    }
    for (MapState<Long, Long> generation : generations) {
      Long known = generation.get(low);
      if (known != null && known == high) {
        return false;
      }
    }
    generations.get((int) (now & 1)).put(low, high);
    return true;
  }
}
