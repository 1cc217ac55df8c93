package dnscribe.stream.fleet;

import dnscribe.stream.ledger.CountingOperator;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Lets the first window with an {@code event_id} pass, keyed by node. Ids are remembered by the
 * minute of their window's end, eight bytes each: fleets write many windows, and a map entry for
 * each would cost twenty times as much.
 *
 * <p>Time is the fleet's progress: while the job is away, or reads a backlog, no id is forgotten.
 */
final class WindowDeduplicator extends CountingOperator<NodeWindow, NodeWindow>
    implements Triggerable<String, VoidNamespace> {
  private static final int UNIQUE = 0;
  private static final int DUPLICATES = 1;
  private static final long BUCKET_MS = 60_000;

  private final long rememberedMs;

  /** By minute, the time until which its ids are remembered, then their sorted second halves. */
  private transient MapState<Long, long[]> seen;

  private transient InternalTimerService<VoidNamespace> timers;

  WindowDeduplicator(String topic, Duration remembered) {
    super("deduplicator", "input/" + topic + "/unique", "input/" + topic + "/duplicates");
    this.rememberedMs = remembered.toMillis();
  }

  @Override
  public void open() throws Exception {
    super.open();
    seen =
        getRuntimeContext()
            .getMapState(
                new MapStateDescriptor<>(
                    "seen", Types.LONG, PrimitiveArrayTypeInfo.LONG_PRIMITIVE_ARRAY_TYPE_INFO));
    timers = getInternalTimerService("timers", VoidNamespaceSerializer.INSTANCE, this);
  }

  @Override
  public void processElement(StreamRecord<NodeWindow> element) throws Exception {
    NodeWindow window = element.getValue();
    long bucket = Math.floorDiv(window.key().endMs(), BUCKET_MS);
    // The last 24 of an id's 32 digits are a hash; the first 8 are common to all of a capture.
    long id = HexFormat.fromHexDigitsToLong(window.eventId(), 16, 32);
    long[] known = seen.get(bucket);
    long[] ids = known == null ? new long[1] : known;
    int place = Arrays.binarySearch(ids, 1, ids.length, id);
    if (place >= 0) {
      count(DUPLICATES, 1);
      return;
    }
    int insert = -place - 1;
    long[] longer = Arrays.copyOf(ids, ids.length + 1);
    System.arraycopy(ids, insert, longer, insert + 1, ids.length - insert);
    longer[insert] = id;
    longer[0] = remember(ids[0]);
    seen.put(bucket, longer);
    count(UNIQUE, 1);
    output.collect(element);
  }

  /**
   * Returns the time until which an id is remembered, and sets a timer unless it is {@code set}.
   */
  private long remember(long set) {
    long watermark = timers.currentWatermark();
    long nowMs = watermark == Long.MIN_VALUE ? timers.currentProcessingTime() : watermark;
    // One timer a minute for all ids of a node.
    long untilMs = (Math.floorDiv(nowMs + rememberedMs, BUCKET_MS) + 1) * BUCKET_MS;
    if (untilMs <= set) {
      return set;
    }
    timers.registerEventTimeTimer(VoidNamespace.INSTANCE, untilMs);
    return untilMs;
  }

  @Override
  public void onEventTime(InternalTimer<String, VoidNamespace> timer) throws Exception {
    List<Long> expired = new ArrayList<>();
    for (var bucket : seen.entries()) {
      if (bucket.getValue()[0] <= timer.getTimestamp()) {
        expired.add(bucket.getKey());
      }
    }
    for (long bucket : expired) {
      seen.remove(bucket);
    }
  }

  @Override
  public void onProcessingTime(InternalTimer<String, VoidNamespace> timer) {}
}
