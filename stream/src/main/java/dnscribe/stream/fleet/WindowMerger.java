package dnscribe.stream.fleet;

import dnscribe.stream.ledger.CountingOperator;
import java.time.Duration;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Merges the windows of all nodes, keyed by window and group.
 *
 * <p>A merged window is written when the watermark passes its end, again when windows of late nodes
 * have changed it, and as final once the allowed lateness is over. What comes then is counted as
 * late.
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

  /** How far a window may end after the present. The state of those beyond would never end. */
  private static final long AHEAD_MS = Duration.ofDays(1).toMillis();

  private static final int LATE = 0;
  private static final int AHEAD = 1;

  private final long latenessMs;
  private transient ValueState<OpenWindow> state;
  private transient InternalTimerService<VoidNamespace> timers;

  WindowMerger(Duration lateness) {
    super("merger", "late", "ahead");
    this.latenessMs = lateness.toMillis();
  }

  @Override
  public void open() throws Exception {
    super.open();
    state =
        getRuntimeContext()
            .getState(new ValueStateDescriptor<>("open", TypeInformation.of(OpenWindow.class)));
    timers = getInternalTimerService("timers", VoidNamespaceSerializer.INSTANCE, this);
  }

  @Override
  public void processElement(StreamRecord<NodeWindow> element) throws Exception {
    NodeWindow window = element.getValue();
    long endMs = window.key().endMs();
    long nowMs = timers.currentProcessingTime();
    OpenWindow open = state.value();
    if (open == null) {
      if (endMs + latenessMs <= timers.currentWatermark()) {
        count(LATE, 1);
        return;
      }
      if (endMs > nowMs + AHEAD_MS) {
        count(AHEAD, 1);
        return;
      }
      open = OpenWindow.of(window.key());
      timers.registerEventTimeTimer(VoidNamespace.INSTANCE, endMs);
    } else if (open.revision >= 0 && !open.hasChanged) {
      timers.registerProcessingTimeTimer(VoidNamespace.INSTANCE, nowMs + REVISE_MS);
    }
    open.sums.add(window.sums());
    open.nodes.add(window.node());
    open.hasChanged = true;
    state.update(open);
  }

  @Override
  public void onEventTime(InternalTimer<String, VoidNamespace> timer) throws Exception {
    settle(false);
  }

  @Override
  public void onProcessingTime(InternalTimer<String, VoidNamespace> timer) throws Exception {
    settle(true);
  }

  /** Writes what is to be written of the current key's window. */
  private void settle(boolean isRevision) throws Exception {
    OpenWindow open = state.value();
    if (open == null) {
      return;
    }
    long nowMs = timers.currentProcessingTime();
    long watermark = timers.currentWatermark();
    long finalMs = open.key.endMs() + latenessMs;
    boolean isFirst = open.revision < 0;
    if (isFirst) {
      open.firstWrittenMs = nowMs;
    }
    boolean isBackfill = watermark == Long.MAX_VALUE || nowMs - open.key.endMs() > RECENT_MS;
    long graceMs = isBackfill ? 0 : open.firstWrittenMs + latenessMs - nowMs;
    boolean isFinal = watermark >= finalMs && graceMs <= 0;
    if (open.hasChanged && (isFirst || isRevision || isFinal)) {
      open.revision++;
      open.hasChanged = false;
      output.collect(new StreamRecord<>(open.snapshot(isFinal)));
    } else if (isFinal) {
      output.collect(new StreamRecord<>(open.snapshot(true)));
    }
    if (isFinal) {
      state.clear();
      return;
    }
    if (watermark < finalMs) {
      timers.registerEventTimeTimer(VoidNamespace.INSTANCE, finalMs);
    } else {
      timers.registerProcessingTimeTimer(VoidNamespace.INSTANCE, nowMs + graceMs);
    }
    state.update(open);
  }
}
