package dnscribe.stream.fleet;

import dnscribe.stream.kafka.OutputRecord;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Makes points for InfluxDB with a bounded number of series: the heaviest zones and named resolvers
 * have their own. The windows of the rest become one, {@code other}, with the checkpoint after they
 * are final; so do resolvers without a name, because addresses are never tags. It has one subtask.
 */
public final class InfluxEncoder extends AbstractStreamOperator<OutputRecord>
    implements OneInputStreamOperator<FleetWindow, OutputRecord> {
  private static final long HOUR_MS = Duration.ofHours(1).toMillis();
  private static final Pattern ADDRESS = Pattern.compile("[0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*");

  private final int limit;
  private final long keptMs;
  private transient Map<String, TagSet> tags;

  /** Windows of what is not a tag, by the text of their keys. */
  private transient Map<String, OpenWindow> others;

  /** End of the newest window that is final. */
  private transient long finalMs;

  private transient ListState<Map<String, TagSet>> tagState;
  private transient ListState<OpenWindow> otherState;

  /**
   * Creates an encoder.
   *
   * @param limit zones, and resolvers, with series of their own
   * @param lateness after which merged windows are final
   */
  public InfluxEncoder(int limit, Duration lateness) {
    this.limit = limit;
    this.keptMs = 2 * lateness.toMillis() + HOUR_MS;
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
    finalMs = Long.MIN_VALUE;
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
    if (window.isFinal() && key.endMs() > finalMs) {
      finalMs = key.endMs();
      changeTags();
    }
    boolean isBounded = key.grouping().equals("zone") || key.grouping().equals("resolver");
    if (key.grouping().equals("resolver+zone")) {
      // Their number has no useful bound.
      return;
    }
    if (!isBounded || (!key.isOther() && isTag(window))) {
      output.collect(element.replace(InfluxPoint.of(window)));
    } else if (window.isFinal()) {
      WindowKey rest = key.rest();
      others.computeIfAbsent(rest.text(), text -> OpenWindow.of(rest)).add(window);
    }
  }

  private boolean isTag(FleetWindow window) {
    WindowKey key = window.key();
    if (key.grouping().equals("resolver") && ADDRESS.matcher(key.value()).matches()) {
      return false;
    }
    TagSet set = tags.computeIfAbsent(key.grouping(), grouping -> new TagSet());
    if (window.isFinal() && key.lengthSeconds() == key.stepSeconds()) {
      set.add(key.value(), window.sums().get(Counter.TRANSACTIONS), limit);
    }
    return set.admits(key.value(), key.startMs(), limit);
  }

  private void changeTags() {
    long hour = Math.floorDiv(finalMs, HOUR_MS) * HOUR_MS;
    for (TagSet set : tags.values()) {
      if (set.current.size() >= limit && hour > set.sinceMs) {
        // From the next hour on: windows of this one may have been written.
        set.change(hour + HOUR_MS, limit);
      }
    }
  }

  @Override
  public void prepareSnapshotPreBarrier(long checkpoint) {
    writeOthers();
  }

  @Override
  public void finish() throws Exception {
    writeOthers();
    super.finish();
  }

  private void writeOthers() {
    for (OpenWindow other : others.values()) {
      if (other.hasChanged) {
        other.hasChanged = false;
        other.revision++;
        output.collect(new StreamRecord<>(InfluxPoint.of(other.snapshot(true))));
      }
    }
    others.values().removeIf(other -> other.key.endMs() + keptMs < finalMs);
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    Map<String, TagSet> copy = new HashMap<>();
    tags.forEach((grouping, set) -> copy.put(grouping, set.snapshot()));
    tagState.update(List.of(copy));
    otherState.update(new ArrayList<>(others.values()));
  }
}
