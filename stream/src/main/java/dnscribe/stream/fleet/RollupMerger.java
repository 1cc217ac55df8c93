package dnscribe.stream.fleet;

import dnscribe.stream.ledger.CountingOperator;
import java.time.Duration;
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
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Merges final windows into those of an hour or a day, keyed by the longer window and the group.
 *
 * <p>A longer window is written at intervals while it grows, and as final once all of its parts
 * are.
 */
final class RollupMerger extends CountingOperator<FleetWindow, FleetWindow>
    implements Triggerable<String, VoidNamespace> {
  private static final int LATE = 0;

  private final int seconds;
  private final long intervalMs;

  private transient ValueState<OpenWindow> state;
  private transient InternalTimerService<VoidNamespace> timers;
  private transient KeptMinimum watermarkState;

  RollupMerger(int seconds, Duration interval) {
    super("rollup-" + seconds, "late_rollups");
    this.seconds = seconds;
    this.intervalMs = interval.toMillis();
  }

  /** Returns the key of the longer window that a window is part of. */
  static WindowKey longer(WindowKey key, int seconds) {
    long lengthMs = seconds * 1000L;
    long startMs = Math.floorDiv(key.startMs(), lengthMs) * lengthMs;
    return key.over(startMs, seconds);
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
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    watermarkState = new KeptMinimum(context.getOperatorStateStore(), "watermark");
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    watermarkState.update(timers.currentWatermark());
  }

  @Override
  public void processElement(StreamRecord<FleetWindow> element) throws Exception {
    FleetWindow window = element.getValue();
    OpenWindow open = state.value();
    if (open == null) {
      open = OpenWindow.of(longer(window.key(), seconds));
      long finalMs = open.key.endMs();
      if (finalMs <= watermarkState.orLater(timers.currentWatermark())) {
        count(LATE, 1);
        return;
      }
      timers.registerEventTimeTimer(VoidNamespace.INSTANCE, finalMs);
    }
    if (!open.hasChanged) {
      timers.registerProcessingTimeTimer(
          VoidNamespace.INSTANCE, timers.currentProcessingTime() + intervalMs);
    }
    open.add(window);
    state.update(open);
  }

  @Override
  public void onEventTime(InternalTimer<String, VoidNamespace> timer) throws Exception {
    OpenWindow open = state.value();
    open.revision += open.hasChanged ? 1 : 0;
    output.collect(new StreamRecord<>(open.snapshot(true)));
    state.clear();
  }

  @Override
  public void onProcessingTime(InternalTimer<String, VoidNamespace> timer) throws Exception {
    OpenWindow open = state.value();
    if (open != null && open.hasChanged) {
      open.revision++;
      open.hasChanged = false;
      output.collect(new StreamRecord<>(open.snapshot(false)));
      state.update(open);
    }
  }
}
