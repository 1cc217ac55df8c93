package dnscribe.stream.detect;

import dnscribe.stream.config.Detect;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.record.Time;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Runs the detectors, keyed by bucket: collects the cells of a span, and judges each entity when
 * the watermark has passed the span's end by the configured wait.
 *
 * <p>Buckets are fixed, and an entity's bucket is a function of its name. So bounds, evictions and
 * results are independent of the parallelism.
 */
final class DetectOperator extends CountingOperator<Cell, Finding>
    implements Triggerable<Integer, Long> {
  private static final int CELLS = 0;
  private static final int LATE = 1;
  private static final int OVERFLOW = 2;
  private static final int EVICTED = 3;
  private static final int REFUSED = 4;
  private static final int FINDINGS = 5;
  private static final int AHEAD = 6;

  /** Most cells of a bucket that wait for the end of one span. */
  private static final int MAX_CELLS = 32_768;

  /** Time without cells of a bucket after which it is a gap in the input, not silence. */
  private static final long GAP_MS = 3_600_000;

  /** Name in an entity's memory for the start of its newest span. */
  private static final String LAST = "~last";

  /** The first span with cells, the newest with cells, and the newest that was judged. */
  private static final int FIRST = 0;

  private static final int NEWEST = 1;
  private static final int JUDGED = 2;

  private static final char END = '\n';

  private final Detect settings;
  private transient List<Detector> detectors;
  private transient MapState<String, long[]> waiting;
  private transient MapState<Long, Integer> waitingCells;
  private transient MapState<String, Map<String, double[]>> memories;

  /** Starts of spans of a bucket, by the indexes {@link #FIRST} to {@link #JUDGED}. */
  private transient ValueState<long[]> spans;

  /** A timer's namespace is the start of the span that it ends. */
  private transient InternalTimerService<Long> timers;

  /** Creates an operator; {@code name} is one of its own for each of a job. */
  DetectOperator(String name, Detect settings) {
    super(
        name,
        "detect/cells",
        "detect/late",
        "detect/overflow",
        "detect/evicted",
        "detect/refused",
        "detect/findings",
        "detect/ahead");
    this.settings = settings;
  }

  @Override
  public void open() throws Exception {
    super.open();
    detectors = Detectors.all(settings);
    var runtime = getRuntimeContext();
    var longs = PrimitiveArrayTypeInfo.LONG_PRIMITIVE_ARRAY_TYPE_INFO;
    var doubles = PrimitiveArrayTypeInfo.DOUBLE_PRIMITIVE_ARRAY_TYPE_INFO;
    waiting = runtime.getMapState(new MapStateDescriptor<>("waiting", Types.STRING, longs));
    waitingCells =
        runtime.getMapState(new MapStateDescriptor<>("waiting-cells", Types.LONG, Types.INT));
    memories =
        runtime.getMapState(
            new MapStateDescriptor<>("memories", Types.STRING, Types.MAP(Types.STRING, doubles)));
    spans = runtime.getState(new ValueStateDescriptor<>("spans", longs));
    timers = getInternalTimerService("spans", LongSerializer.INSTANCE, this);
  }

  @Override
  public void processElement(StreamRecord<Cell> element) throws Exception {
    Cell cell = element.getValue();
    Detector detector = detectors.get(cell.detector());
    count(CELLS, 1);
    if (cell.start() > timers.currentProcessingTime() + Time.MAX_AHEAD_MS) {
      count(AHEAD, 1);
      return;
    }
    long next = nextSpan(detector.spanMillis());
    if (cell.start() < next) {
      if (next == Long.MAX_VALUE || !detector.keepsLate(cell.name())) {
        count(LATE, 1);
        return;
      }
      cell = new Cell(cell.detector(), next, cell.entity(), cell.name(), cell.values());
    }
    long due = cell.start() + detector.spanMillis() + settings.closeAfter().toMillis();
    if (!detector.accepts(cell.name(), memories.contains(cell.entity()))) {
      return;
    }
    String key = cell.start() + "" + END + cell.entity() + END + cell.name();
    long[] sum = waiting.get(key);
    if (sum == null) {
      Integer count = waitingCells.get(cell.start());
      int before = count == null ? 0 : count;
      if (before >= MAX_CELLS) {
        count(OVERFLOW, 1);
        return;
      }
      waitingCells.put(cell.start(), before + 1);
      timers.registerEventTimeTimer(cell.start(), due);
    }
    if (sum == null) {
      sum = cell.values();
    } else {
      add(sum, cell.values(), detector.sums());
    }
    waiting.put(key, sum);
  }

  /** Returns the start of the first span that is not judged yet. */
  private long nextSpan(long span) throws Exception {
    long watermark = timers.currentWatermark();
    if (watermark == Long.MAX_VALUE) {
      return Long.MAX_VALUE;
    }
    long[] known = spans.value();
    // After a restart the watermark begins anew.
    long next = known == null ? Long.MIN_VALUE : known[JUDGED] + span;
    if (watermark == Long.MIN_VALUE) {
      return next;
    }
    return Math.max(next, Math.floorDiv(watermark - settings.closeAfter().toMillis(), span) * span);
  }

  /** Adds the values of an equal cell to a sum. */
  static void add(long[] sum, long[] values, int sums) {
    for (int i = 0; i < sum.length; i++) {
      sum[i] = i < sums ? sum[i] + values[i] : Math.max(sum[i], values[i]);
    }
  }

  @Override
  public void onEventTime(InternalTimer<Integer, Long> timer) throws Exception {
    Detector detector = detectors.get(timer.getKey() / Cell.BUCKETS);
    long span = detector.spanMillis();
    long start = timer.getNamespace();
    Map<String, Map<String, long[]>> entities = takeCells(start);
    long[] known = spans.value();
    known = known == null ? new long[] {start, start, start} : known.clone();
    known[NEWEST] = entities.isEmpty() ? known[NEWEST] : start;
    known[JUDGED] = start;
    spans.update(known);
    Map<String, Map<String, double[]>> remembered = remembered(detector, start);
    long silence = start - known[NEWEST];
    if (detector.judgesSilence()) {
      remembered.forEach(
          (entity, memory) -> {
            if (silence <= GAP_MS || detector.isOpen(memory)) {
              entities.putIfAbsent(entity, Map.of());
            }
          });
    }
    makeRoom(detector, entities, remembered);
    List<Finding> findings = new ArrayList<>();
    for (var entity : entities.entrySet()) {
      Map<String, double[]> memory = remembered.getOrDefault(entity.getKey(), new HashMap<>());
      double[] last = memory.remove(LAST);
      detector.judge(
          start, known[FIRST], entity.getKey(), entity.getValue(), memory, findings::add);
      if (memory.isEmpty()) {
        memories.remove(entity.getKey());
      } else if (last != null || remembered.size() < detector.maxEntities()) {
        memory.put(LAST, entity.getValue().isEmpty() ? last : new double[] {start});
        remembered.put(entity.getKey(), memory);
        memories.put(entity.getKey(), memory);
      } else {
        count(REFUSED, 1);
      }
    }
    count(FINDINGS, findings.size());
    for (Finding finding : findings) {
      output.collect(new StreamRecord<>(finding, finding.end()));
    }
    boolean goesOn =
        (silence < GAP_MS && !remembered.isEmpty())
            || remembered.values().stream().anyMatch(detector::isOpen);
    if (detector.judgesSilence() && goesOn && timers.currentWatermark() < Long.MAX_VALUE) {
      timers.registerEventTimeTimer(start + span, timer.getTimestamp() + span);
    }
  }

  /** Returns the cells of a span by entity and name, and removes them from the state. */
  private Map<String, Map<String, long[]>> takeCells(long start) throws Exception {
    Map<String, Map<String, long[]>> entities = new TreeMap<>();
    if (!waitingCells.contains(start)) {
      return entities;
    }
    waitingCells.remove(start);
    String prefix = start + "" + END;
    List<String> keys = new ArrayList<>();
    for (var cell : waiting.entries()) {
      if (cell.getKey().startsWith(prefix)) {
        int end = cell.getKey().indexOf(END, prefix.length());
        entities
            .computeIfAbsent(cell.getKey().substring(prefix.length(), end), key -> new HashMap<>())
            .put(cell.getKey().substring(end + 1), cell.getValue());
        keys.add(cell.getKey());
      }
    }
    for (String key : keys) {
      waiting.remove(key);
    }
    return entities;
  }

  /** Returns the memories of the bucket without those of entities that were absent for too long. */
  private Map<String, Map<String, double[]>> remembered(Detector detector, long start)
      throws Exception {
    Map<String, Map<String, double[]>> kept = new TreeMap<>();
    List<String> gone = new ArrayList<>();
    for (var memory : memories.entries()) {
      if (start - memory.getValue().get(LAST)[0] > detector.forgetMillis()) {
        gone.add(memory.getKey());
      } else {
        kept.put(memory.getKey(), memory.getValue());
      }
    }
    for (String entity : gone) {
      memories.remove(entity);
    }
    return kept;
  }

  /** Evicts entities that are absent from this span for its new ones, the longest absent first. */
  private void makeRoom(
      Detector detector,
      Map<String, Map<String, long[]>> entities,
      Map<String, Map<String, double[]>> remembered)
      throws Exception {
    long added =
        entities.keySet().stream().filter(entity -> !remembered.containsKey(entity)).count();
    long excess = remembered.size() + added - detector.maxEntities();
    if (excess <= 0) {
      return;
    }
    List<String> absent = new ArrayList<>();
    remembered.keySet().stream()
        .filter(entity -> entities.getOrDefault(entity, Map.of()).isEmpty())
        .sorted(Comparator.comparingDouble(entity -> remembered.get(entity).get(LAST)[0]))
        .limit(excess)
        .forEach(absent::add);
    for (String entity : absent) {
      memories.remove(entity);
      remembered.remove(entity);
      entities.remove(entity);
    }
    count(EVICTED, absent.size());
  }

  @Override
  public void onProcessingTime(InternalTimer<Integer, Long> timer) {
    throw new IllegalStateException("no timer of this operator is of processing time");
  }
}
