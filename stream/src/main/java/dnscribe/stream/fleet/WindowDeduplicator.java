package dnscribe.stream.fleet;

import dnscribe.stream.ledger.CountingOperator;
import java.time.Duration;
import java.util.Arrays;
import java.util.HexFormat;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.StateTtlConfig;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Lets the first window with an {@code event_id} pass, keyed by node. Ids are remembered by the
 * minute of their window's end, eight bytes each: fleets write many windows, and a map entry for
 * each would cost twenty times as much.
 */
final class WindowDeduplicator extends CountingOperator<NodeWindow, NodeWindow> {
  private static final int UNIQUE = 0;
  private static final int DUPLICATES = 1;
  private static final long BUCKET_MS = 60_000;

  private final Duration remembered;

  /** Sorted second halves of event ids by minute. */
  private transient MapState<Long, long[]> seen;

  WindowDeduplicator(String topic, Duration remembered) {
    super("deduplicator", "input/" + topic + "/unique", "input/" + topic + "/duplicates");
    this.remembered = remembered;
  }

  @Override
  public void open() throws Exception {
    super.open();
    MapStateDescriptor<Long, long[]> descriptor =
        new MapStateDescriptor<>(
            "seen", Types.LONG, PrimitiveArrayTypeInfo.LONG_PRIMITIVE_ARRAY_TYPE_INFO);
    descriptor.enableTimeToLive(
        StateTtlConfig.newBuilder(remembered)
            .setUpdateType(StateTtlConfig.UpdateType.OnCreateAndWrite)
            // One node's ids for each access: looking at them copies them.
            .cleanupIncrementally(1, false)
            .build());
    seen = getRuntimeContext().getMapState(descriptor);
  }

  @Override
  public void processElement(StreamRecord<NodeWindow> element) throws Exception {
    NodeWindow window = element.getValue();
    long bucket = Math.floorDiv(window.key().endMs(), BUCKET_MS);
    // The last 24 of an id's 32 digits are a hash; the first 8 are common to all of a capture.
    long id = HexFormat.fromHexDigitsToLong(window.eventId(), 16, 32);
    long[] ids = seen.get(bucket);
    int place = ids == null ? -1 : Arrays.binarySearch(ids, id);
    if (place >= 0) {
      count(DUPLICATES, 1);
      return;
    }
    int length = ids == null ? 0 : ids.length;
    long[] longer = new long[length + 1];
    int insert = -place - 1;
    if (ids != null) {
      System.arraycopy(ids, 0, longer, 0, insert);
      System.arraycopy(ids, insert, longer, insert + 1, length - insert);
    }
    longer[insert] = id;
    seen.put(bucket, longer);
    count(UNIQUE, 1);
    output.collect(element);
  }
}
