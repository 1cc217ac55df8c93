package dnscribe.stream.fleet;

import dnscribe.stream.job.BackfillSpan;
import dnscribe.stream.ledger.CountingOperator;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Merges the windows of all nodes for a backfill: each is written once, as final.
 *
 * <p>Time here is that of the arrival in Kafka, which is in order for windows of any age. A merged
 * window takes what arrived within {@link BackfillSpan#MARGIN} after its first part, by which the
 * watermarks are behind; what came later is counted as late. Only windows of which a part arrived
 * in the span are written, because the others may lack parts.
 */
final class BackfillMerger extends CountingOperator<NodeWindow, FleetWindow>
    implements Triggerable<String, VoidNamespace> {
  private static final int LATE = 0;

  private final BackfillSpan span;
  private transient ValueState<OpenWindow> state;

  /** Whether a part of the window arrived in the span. */
  private transient ValueState<Boolean> inSpan;

  /** Whether the window was written. */
  private transient ValueState<Boolean> done;

  private transient InternalTimerService<VoidNamespace> timers;

  BackfillMerger(BackfillSpan span) {
    super("merger", "late");
    this.span = span;
  }

  @Override
  public void open() throws Exception {
    super.open();
    var context = getRuntimeContext();
    state =
        context.getState(new ValueStateDescriptor<>("open", TypeInformation.of(OpenWindow.class)));
    inSpan = context.getState(new ValueStateDescriptor<>("in-span", Types.BOOLEAN));
    done = context.getState(new ValueStateDescriptor<>("done", Types.BOOLEAN));
    timers = getInternalTimerService("timers", VoidNamespaceSerializer.INSTANCE, this);
  }

  @Override
  public void processElement(StreamRecord<NodeWindow> element) throws Exception {
    if (done.value() != null) {
      count(LATE, 1);
      return;
    }
    NodeWindow window = element.getValue();
    long arrivalMs = element.getTimestamp();
    OpenWindow open = state.value();
    if (open == null) {
      open = OpenWindow.of(window.key());
      timers.registerEventTimeTimer(VoidNamespace.INSTANCE, arrivalMs);
    }
    if (span.has(arrivalMs)) {
      inSpan.update(true);
    }
    open.sums.add(window.sums());
    open.nodes.add(window.node());
    state.update(open);
  }

  @Override
  public void onEventTime(InternalTimer<String, VoidNamespace> timer) throws Exception {
    OpenWindow open = state.value();
    if (inSpan.value() != null) {
      open.revision = 0;
      output.collect(new StreamRecord<>(open.snapshot(true)));
    }
    done.update(true);
    state.clear();
    inSpan.clear();
  }

  @Override
  public void onProcessingTime(InternalTimer<String, VoidNamespace> timer) {}
}
