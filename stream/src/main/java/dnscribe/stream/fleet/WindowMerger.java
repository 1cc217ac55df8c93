package dnscribe.stream.fleet;

import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.record.Time;
import java.time.Duration;
import java.util.TreeMap;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Merges the windows of all nodes, keyed by window and group.
 *
 * <p>A merged window is written when the watermark passes its end, again when windows of late nodes
 * have changed it, and as final once the allowed lateness is over. What comes then is counted as
 * late. This operator's watermark says up to which end all windows were written as final, so that
 * roll-ups need not wait any longer. If all nodes fall silent, no watermark passes the end of their
 * last windows: these are written, not as final, when the allowed lateness has passed on the wall
 * clock.
 */
final class WindowMerger extends CountingOperator<NodeWindow, FleetWindow>
    implements Triggerable<String, VoidNamespace> {
  /** Time for further windows of late nodes before a revision is written. */
  private static final long REVISE_MS = 1_000;

  /**
   * Age of a window up to which the allowed lateness has to pass on the wall clock too. After an
   * outage nodes send what they have kept one after the other, while the first of them moves the
   * watermark on. Older windows are those of a backfill, of which too many would be open at once.
   */
  private static final long RECENT_MS = Duration.ofHours(1).toMillis();

  /**
   * Step of the time that the allowed lateness is measured in. While Kafka holds the job up no step
   * passes: windows that wait inside the job do not become late there.
   */
  private static final long TICK_MS = 1_000;

  private static final int LATE = 0;
  private static final int AHEAD = 1;

  private final long latenessMs;
  private transient ValueState<OpenWindow> state;
  private transient InternalTimerService<VoidNamespace> timers;
  private transient WatermarkHistory watermarks;

  /** Time that this subtask has been running, not counting what it was held up. */
  private transient long runningMs;

  private transient KeptMinimum settledState;
  private transient KeptMinimum watermarkState;

  /** Number of open windows by their end, those of all keys of this subtask. */
  private transient TreeMap<Long, Integer> openEnds;

  private transient long emittedMs;

  WindowMerger(Duration lateness) {
    super("merger", "late", "ahead");
    this.latenessMs = lateness.toMillis();
  }

  @Override
  public void open() throws Exception {
    super.open();
    var descriptor = new ValueStateDescriptor<>("open", TypeInformation.of(OpenWindow.class));
    state = getRuntimeContext().getState(descriptor);
    openEnds = new TreeMap<>();
    emittedMs = Long.MIN_VALUE;
    this.<String>getKeyedStateBackend()
        .applyToAllKeys(
            VoidNamespace.INSTANCE,
            VoidNamespaceSerializer.INSTANCE,
            descriptor,
            (key, open) -> openEnds.merge(open.value().key.endMs(), 1, Integer::sum));
    timers = getInternalTimerService("timers", VoidNamespaceSerializer.INSTANCE, this);
    setTick();
  }

  private void setTick() {
    var clock = getProcessingTimeService();
    var unused =
        clock.registerTimer(
            clock.getCurrentProcessingTime() + TICK_MS,
            time -> {
              runningMs += TICK_MS;
              emitWatermark();
              setTick();
            });
  }

  @Override
  public void processElement(StreamRecord<NodeWindow> element) throws Exception {
    NodeWindow window = element.getValue();
    long endMs = window.key().endMs();
    long nowMs = timers.currentProcessingTime();
    OpenWindow open = state.value();
    if (open == null) {
      if (isFinal(endMs)) {
        count(LATE, 1);
        return;
      }
      if (endMs > nowMs + Time.MAX_AHEAD_MS) {
        count(AHEAD, 1);
        return;
      }
      open = OpenWindow.of(window.key());
      openEnds.merge(endMs, 1, Integer::sum);
      if (endMs > watermark()) {
        timers.registerEventTimeTimer(VoidNamespace.INSTANCE, endMs);
        timers.registerProcessingTimeTimer(
            VoidNamespace.INSTANCE, Math.max(nowMs, endMs) + latenessMs);
      } else {
        timers.registerProcessingTimeTimer(VoidNamespace.INSTANCE, nowMs + REVISE_MS);
        // The topic may end before that.
        if (endMs + latenessMs > watermark()) {
          timers.registerEventTimeTimer(VoidNamespace.INSTANCE, endMs + latenessMs);
        }
      }
    } else if (open.revision >= 0 && !open.hasChanged) {
      timers.registerProcessingTimeTimer(VoidNamespace.INSTANCE, nowMs + REVISE_MS);
    }
    open.sums.add(window.sums());
    open.nodes.add(window.node());
    open.hasChanged = true;
    state.update(open);
  }

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    settledState = new KeptMinimum(context.getOperatorStateStore(), "settled");
    watermarkState = new KeptMinimum(context.getOperatorStateStore(), "watermark");
    watermarks = new WatermarkHistory(settledState.orLater(Long.MIN_VALUE));
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    settledState.update(watermarks.before(runningMs - latenessMs));
    watermarkState.update(timers.currentWatermark());
  }

  @Override
  public void processWatermark(Watermark mark) throws Exception {
    // Before the timers, which ask for it.
    watermarks.add(mark.getTimestamp(), runningMs);
    timeServiceManager.advanceWatermark(mark);
    emitWatermark();
  }

  /** Returns the newest watermark, also that of before a restart. */
  private long watermark() {
    return watermarkState.orLater(timers.currentWatermark());
  }

  /** Emits the end up to which all windows are final and written. */
  private void emitWatermark() {
    long finalMs = finalMs();
    if (!openEnds.isEmpty()) {
      finalMs = Math.min(finalMs, openEnds.firstKey() - 1);
    }
    if (finalMs > emittedMs) {
      emittedMs = finalMs;
      output.emitWatermark(new Watermark(finalMs));
    }
  }

  /** Returns the greatest end for which {@link #isFinal} holds. */
  private long finalMs() {
    long watermark = watermark();
    if (watermark == Long.MAX_VALUE || watermark < Long.MIN_VALUE + latenessMs) {
      return watermark;
    }
    long oldMs = timers.currentProcessingTime() - RECENT_MS - 1;
    return Math.min(
        watermark - latenessMs, Math.max(oldMs, watermarks.before(runningMs - latenessMs)));
  }

  @Override
  public void onEventTime(InternalTimer<String, VoidNamespace> timer) throws Exception {
    settle(false);
  }

  @Override
  public void onProcessingTime(InternalTimer<String, VoidNamespace> timer) throws Exception {
    settle(true);
  }

  /** Returns whether windows with this end take no more windows of nodes. */
  private boolean isFinal(long endMs) {
    long watermark = watermark();
    long nowMs = timers.currentProcessingTime();
    boolean isRecent = watermark != Long.MAX_VALUE && nowMs - endMs <= RECENT_MS;
    return watermark >= endMs + latenessMs
        && (!isRecent || watermarks.before(runningMs - latenessMs) >= endMs);
  }

  /** Writes what is to be written of the current key's window. */
  private void settle(boolean isRevision) throws Exception {
    OpenWindow open = state.value();
    if (open == null) {
      return;
    }
    long nowMs = timers.currentProcessingTime();
    long watermark = watermark();
    long finalMs = open.key.endMs() + latenessMs;
    boolean isFirst = open.revision < 0;
    boolean isFinal = isFinal(open.key.endMs());
    if (open.hasChanged && (isFirst || isRevision || isFinal)) {
      open.revision++;
      open.hasChanged = false;
      output.collect(new StreamRecord<>(open.snapshot(isFinal)));
    } else if (isFinal) {
      output.collect(new StreamRecord<>(open.snapshot(true)));
    }
    if (isFinal) {
      state.clear();
      openEnds.computeIfPresent(
          open.key.endMs(), (end, count) -> count == 1 ? null : Integer.valueOf(count - 1));
      return;
    }
    if (watermark < finalMs) {
      timers.registerEventTimeTimer(VoidNamespace.INSTANCE, finalMs);
    } else {
      long waitMs = watermarks.passedMs(open.key.endMs(), runningMs) + latenessMs - runningMs;
      timers.registerProcessingTimeTimer(VoidNamespace.INSTANCE, nowMs + Math.max(waitMs, TICK_MS));
    }
    state.update(open);
  }
}
