package dnscribe.stream.detect;

import com.fasterxml.jackson.annotation.JsonAutoDetect;
import com.fasterxml.jackson.annotation.PropertyAccessor;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import dnscribe.stream.config.Detect;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Runs the {@link AlertEngine} of the whole fleet, every minute of event time. It has one subtask:
 * findings are few.
 */
final class AlertOperator extends CountingOperator<Signal, OutputRecord> {
  private static final int RECORDS = 0;
  private static final int WRITTEN = 1;
  private static final int FIRED = 2;
  private static final int RESOLVED = 3;
  private static final int MUTED = 4;
  private static final int SUPPRESSED = 5;
  private static final int OVERFLOW = 6;
  private static final long TICK_MS = 60_000;

  /** Most changes and others' alerts whose time has not come: a clock may be years ahead. */
  private static final int MAX_WAITING = 50_000;

  private static final ObjectMapper JSON =
      JsonMapper.builder()
          .visibility(PropertyAccessor.FIELD, JsonAutoDetect.Visibility.PUBLIC_ONLY)
          .build();

  /** What is kept over a restart. */
  static final class Kept {
    public AlertEngine.State engine = new AlertEngine.State();

    /** Signals after the last tick. */
    public List<Signal> waiting = new ArrayList<>();

    /** Time of the next evaluation; unknown before the first finding. */
    public Long nextTick;
  }

  private final Detect settings;
  private transient Kept kept;
  private transient AlertEngine engine;
  private transient ListState<byte[]> state;

  AlertOperator(String name, Detect settings, String topic) {
    super(
        name,
        "output/" + topic + "/records",
        "output/" + topic + "/written",
        "alerts/fired",
        "alerts/resolved",
        "alerts/muted",
        "alerts/suppressed",
        "alerts/overflow");
    this.settings = settings;
  }

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    state =
        context
            .getOperatorStateStore()
            .getListState(
                new ListStateDescriptor<>(
                    "engine", PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO));
    kept = new Kept();
    for (byte[] json : state.get()) {
      kept = JSON.readValue(json, Kept.class);
    }
    engine = new AlertEngine(settings, kept.engine);
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    state.update(List.of(JSON.writeValueAsBytes(kept)));
  }

  @Override
  public void processElement(StreamRecord<Signal> element) {
    if (kept.waiting.size() >= MAX_WAITING && element.getValue().finding() == null) {
      count(OVERFLOW, 1);
      return;
    }
    kept.waiting.add(element.getValue());
  }

  @Override
  public void processWatermark(Watermark mark) throws Exception {
    long until = mark.getTimestamp();
    // At the end of a bounded input nothing is known of what follows, and nothing is resolved.
    boolean ends = until == Long.MAX_VALUE;
    until = ends ? until : until - settings.closeAfter().toMillis();
    while (true) {
      Long tick = nextTick();
      if (tick == null || tick > until || (ends && kept.waiting.isEmpty())) {
        break;
      }
      evaluate(tick);
      kept.nextTick = tick + TICK_MS;
    }
    super.processWatermark(mark);
  }

  /** Returns the time of the next evaluation: without alerts, that of the next signal. */
  private Long nextTick() {
    if (kept.nextTick != null && !kept.engine.episodes.isEmpty()) {
      return kept.nextTick;
    }
    if (kept.waiting.isEmpty()) {
      return null;
    }
    long first = kept.waiting.stream().mapToLong(Signal::time).min().getAsLong();
    long tick = -Math.floorDiv(-first, TICK_MS) * TICK_MS;
    return kept.nextTick == null ? Long.valueOf(tick) : Long.valueOf(Math.max(tick, kept.nextTick));
  }

  private void evaluate(long tick) {
    List<Signal> due = new ArrayList<>();
    kept.waiting.removeIf(signal -> signal.time() <= tick && due.add(signal));
    due.sort(Comparator.comparingLong(Signal::time));
    List<Finding> findings = new ArrayList<>();
    for (Signal signal : due) {
      if (signal.finding() != null) {
        findings.add(signal.finding());
      } else if (signal.change() != null) {
        engine.add(signal.change());
      } else if (signal.nodeAlert() != null) {
        engine.add(signal.nodeAlert());
      } else {
        engine.add(signal.probeAlert());
      }
    }
    engine.evaluate(
        tick,
        findings,
        alert -> {
          count(RECORDS, 1);
          count(WRITTEN, 1);
          output.collect(new StreamRecord<>(alert.record(settings.runbookUrl()), tick));
        });
    takeCounters();
  }

  private void takeCounters() {
    AlertEngine.Counters counters = engine.counters;
    count(FIRED, counters.fired);
    count(RESOLVED, counters.resolved);
    count(MUTED, counters.muted);
    count(SUPPRESSED, counters.suppressed);
    count(OVERFLOW, counters.overflow);
    counters.fired = counters.resolved = counters.muted = 0;
    counters.suppressed = counters.overflow = 0;
  }
}
