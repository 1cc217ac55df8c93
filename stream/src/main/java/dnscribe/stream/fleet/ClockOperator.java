package dnscribe.stream.fleet;

import dnscribe.stream.config.FleetConfig;
import java.util.List;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Passes windows on with the watermarks of the {@link FleetClock}. It has one subtask: partitions
 * and subtasks of the source see only some of the nodes, and whether a clock is wrong shows only
 * beside the others. Watermarks take the way of the windows, so none overtakes a window.
 */
final class ClockOperator extends AbstractStreamOperator<NodeWindow>
    implements OneInputStreamOperator<NodeWindow, NodeWindow> {
  private final FleetConfig settings;
  private transient FleetClock clock;
  private transient long emitted;
  private transient ListState<Long> state;

  ClockOperator(FleetConfig settings) {
    this.settings = settings;
  }

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    state =
        context
            .getOperatorStateStore()
            .getListState(new ListStateDescriptor<>("watermark", Types.LONG));
    long restored = Long.MIN_VALUE;
    for (long one : state.get()) {
      restored = Math.max(restored, one);
    }
    clock =
        new FleetClock(settings.nodeLag().toMillis(), settings.idleTimeout().toMillis(), restored);
    emitted = Long.MIN_VALUE;
  }

  @Override
  public void open() throws Exception {
    super.open();
    setTimer();
  }

  @Override
  public void processElement(StreamRecord<NodeWindow> element) {
    // After a restart the first window must not find a job without a watermark.
    emit(clock.watermark());
    clock.observe(element.getValue(), getProcessingTimeService().getCurrentProcessingTime());
    output.collect(element);
  }

  /** Ignores watermarks of the source but the last one, which ends a backfill. */
  @Override
  public void processWatermark(Watermark mark) throws Exception {
    if (mark.getTimestamp() == Long.MAX_VALUE) {
      super.processWatermark(mark);
    }
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    state.update(List.of(clock.watermark()));
  }

  private void setTimer() {
    var service = getProcessingTimeService();
    var unused =
        service.registerTimer(
            service.getCurrentProcessingTime() + FleetClock.TICK_MS,
            time -> {
              emit(clock.tick(service.getCurrentProcessingTime()));
              setTimer();
            });
  }

  private void emit(long watermark) {
    if (watermark > emitted) {
      emitted = watermark;
      output.emitWatermark(new Watermark(watermark));
    }
  }
}
