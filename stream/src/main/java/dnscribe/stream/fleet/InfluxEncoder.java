package dnscribe.stream.fleet;

import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Makes points for InfluxDB with a bounded number of series: the heaviest zones, types and named
 * resolvers have their own. The windows of the rest become one, {@code other}, with the checkpoint
 * after they are final; so do resolvers without a name, because addresses are never tags. It has
 * one subtask.
 *
 * <p>What becomes one point is in several partitions, of which some may be read much later. So sums
 * are kept until the watermark, which is that of the slowest partition, says that they are
 * complete. Windows that come later still would replace a sum by themselves: they are late.
 */
public final class InfluxEncoder extends CountingOperator<FleetWindow, OutputRecord> {
  private static final int LATE = 0;
  private static final long HOUR_MS = Duration.ofHours(1).toMillis();

  /** Groupings by what traffic can choose. */
  private static final Set<String> BOUNDED = Set.of("zone", "resolver", "qtype");

  private final int limit;
  private final long beginMs;
  private transient Map<String, TagSet> tags;

  /** Windows of what is not a tag, by the text of their keys. */
  private transient Map<String, OpenWindow> others;

  /** The newest watermark, also that of before a restart. */
  private transient long watermark;

  private transient ListState<Map<String, TagSet>> tagState;
  private transient ListState<OpenWindow> otherState;
  private transient ListState<Long> watermarkState;

  /**
   * Creates an encoder.
   *
   * @param limit zones, resolvers, and types, with series of their own
   * @param beginMs time from which on the topic is read: windows that end before may have parts
   *     that are not read
   */
  public InfluxEncoder(int limit, long beginMs) {
    super("points", "late");
    this.limit = limit;
    this.beginMs = beginMs;
  }

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    var store = context.getOperatorStateStore();
    tagState =
        store.getListState(
            new ListStateDescriptor<>(
                "tags", Types.MAP(Types.STRING, TypeInformation.of(TagSet.class))));
    otherState =
        store.getListState(
            new ListStateDescriptor<>("others", TypeInformation.of(OpenWindow.class)));
    watermarkState =
        store.getListState(new ListStateDescriptor<>("watermark", TypeInformation.of(Long.class)));
    watermark = Long.MIN_VALUE;
    // After a restart, too, what is no longer kept must not be begun anew.
    for (Long restored : watermarkState.get()) {
      watermark = Math.max(watermark, restored);
    }
    tags = new HashMap<>();
    tagState.get().forEach(tags::putAll);
    others = new TreeMap<>();
    for (OpenWindow other : otherState.get()) {
      others.put(other.key.text(), other);
    }
  }

  @Override
  public void processElement(StreamRecord<FleetWindow> element) {
    FleetWindow window = element.getValue();
    WindowKey key = window.key();
    if (key.grouping().equals("resolver+zone")) {
      // Their number has no useful bound.
      return;
    }
    if (!BOUNDED.contains(key.grouping()) || (!key.isOther() && isTag(window))) {
      output.collect(element.replace(InfluxPoint.of(window, window.isFinal())));
    } else if (window.isFinal() && isClosed(key)) {
      count(LATE, 1);
    } else if (window.isFinal() && key.endMs() >= beginMs) {
      WindowKey rest = key.rest();
      others.computeIfAbsent(rest.text(), text -> OpenWindow.of(rest)).add(window);
    }
  }

  private boolean isTag(FleetWindow window) {
    WindowKey key = window.key();
    if (key.grouping().equals("resolver") && InfluxPoint.isAddress(key.value())) {
      return false;
    }
    TagSet set = tags.computeIfAbsent(key.grouping(), grouping -> new TagSet());
    if (window.isFinal() && key.lengthSeconds() == key.stepSeconds()) {
      set.add(key.value(), window.sums().get(Counter.TRANSACTIONS), limit);
    }
    return set.admits(key.value(), key.startMs(), limit);
  }

  @Override
  public void processWatermark(Watermark mark) throws Exception {
    // The last one, at the end of a bounded topic, is no time.
    if (mark.getTimestamp() != Long.MAX_VALUE && mark.getTimestamp() > watermark) {
      watermark = mark.getTimestamp();
      changeTags();
    }
    super.processWatermark(mark);
  }

  /** Returns whether the sum that a window is part of is complete, and no longer kept. */
  private boolean isClosed(WindowKey key) {
    return key.endMs() + HOUR_MS < watermark;
  }

  private void changeTags() {
    long hour = Math.floorDiv(watermark, HOUR_MS) * HOUR_MS;
    for (TagSet set : tags.values()) {
      if (set.current.size() >= limit && hour > set.sinceMs) {
        // From the next hour on: windows of this one may have been written.
        set.change(hour + HOUR_MS, limit);
      }
    }
  }

  @Override
  protected void flush() {
    for (OpenWindow other : others.values()) {
      boolean isLast = isClosed(other.key);
      other.revision += other.hasChanged ? 1 : 0;
      if (other.hasChanged || isLast) {
        other.hasChanged = false;
        output.collect(new StreamRecord<>(InfluxPoint.of(other.snapshot(true), isLast)));
      }
    }
    others.values().removeIf(other -> isClosed(other.key));
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    Map<String, TagSet> copy = new HashMap<>();
    tags.forEach((grouping, set) -> copy.put(grouping, set.snapshot()));
    tagState.update(List.of(copy));
    otherState.update(new ArrayList<>(others.values()));
    watermarkState.update(List.of(watermark));
  }
}
