package dnscribe.stream.fleet;

import com.fasterxml.jackson.core.JsonParseException;
import com.fasterxml.jackson.core.JsonParser;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.record.MalformedException;
import dnscribe.stream.record.RecordSchema;
import dnscribe.stream.record.RecordSchema.Setter;
import dnscribe.stream.record.Time;
import java.io.IOException;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import java.util.OptionalLong;
import java.util.function.Function;

/** Reads {@code dns.window/1}. */
final class NodeWindowParser implements RecordReader.Parser<NodeWindow> {
  /** Version of the sketches' encodings that can be merged. */
  private static final int SKETCH_ENCODING = 1;

  /**
   * Latencies of a window at most, so that the sum of 100,000 nodes is a number that a sketch
   * counts.
   */
  private static final long MAX_LATENCIES = 1L << 36;

  /** What a window counts of anything at most, so that the sum of 100,000 nodes fits a long. */
  private static final long MAX_COUNT = 1L << 43;

  /** Characters of a group's value at most: alerts, which repeat it, must fit a topic. */
  private static final int MAX_NAME = 4096;

  private final RecordSchema<Draft> schema = RecordSchema.load("dns.window/1", setters());

  @Override
  public NodeWindow parse(KafkaRecord record) throws MalformedException {
    Draft draft = new Draft();
    schema.read(record.value(), draft);
    return new NodeWindow(
        record.partition(),
        record.timestamp(),
        draft.eventId,
        draft.node,
        draft.region,
        draft.transport,
        draft.key(null),
        draft.sums());
  }

  /** Returns the setters of the fields that {@code dns.fleet/1} has too. */
  static Map<String, Setter<Draft>> setters() {
    Map<String, Setter<Draft>> setters = new HashMap<>();
    setters.put("sketch_encoding", (window, json) -> window.sketchEncoding = json.getLongValue());
    setters.put("event_id", (window, json) -> window.eventId = json.getText());
    setters.put("node", (window, json) -> window.node = json.getText());
    setters.put("region", (window, json) -> window.region = json.getText());
    setters.put("transport", (window, json) -> window.transport = json.getText());
    setters.put("ts", (window, json) -> window.ts = json.getText());
    setters.put("window_seconds", (window, json) -> window.length = json.getLongValue());
    setters.put("step_seconds", (window, json) -> window.step = json.getLongValue());
    setters.put("grouping", (window, json) -> window.grouping = json.getText());
    setters.put("vantage", (window, json) -> window.vantage = json.getText());
    setters.put("resolver", (window, json) -> window.resolver = json.getText());
    setters.put("zone", (window, json) -> window.zone = json.getText());
    setters.put("qtype", (window, json) -> window.qtype = json.getText());
    setters.put("other", (window, json) -> window.isOther = json.getBooleanValue());

    setters.put("partial", (window, json) -> window.sums.isPartial = json.getBooleanValue());
    setters.put(
        "undercounted", (window, json) -> window.sums.isUndercounted = json.getBooleanValue());
    counter(setters, "", Counter.TRANSACTIONS);
    counter(setters, "statuses.", Counter.STATUSES);
    counter(setters, "", Counter.PLAIN);
    counts(setters, "rcodes", "rcode", sums -> sums.rcodes);
    counts(setters, "qtypes", "qtype", sums -> sums.qtypes);
    histogram(setters, "qname_entropy", sums -> sums.qnameEntropy);
    histogram(setters, "label_lengths", sums -> sums.labelLengths);
    histogram(setters, "min_ttls", sums -> sums.minTtls);

    setters.put("exact", (window, json) -> window.sums.hasExact = true);
    counter(setters, "exact.", Counter.EXACT);
    counts(setters, "exact.rcodes", "rcode", sums -> sums.exactRcodes);

    setters.put("estimated_transactions", (window, json) -> window.sums.isSampled = true);
    setters.put(
        "estimated_transactions.value", (window, json) -> window.estimate = json.getDoubleValue());
    setters.put("estimated_transactions.low", (window, json) -> window.low = json.getDoubleValue());
    setters.put(
        "estimated_transactions.high", (window, json) -> window.high = json.getDoubleValue());

    setters.put(
        "latency_ms.max", (window, json) -> window.sums.latencyMaxMs = json.getDoubleValue());
    sketch(setters, "latency_ms.sketch", sums -> sums.latency);
    distinct(setters, "unique_qnames.", sums -> sums.qnames);
    distinct(setters, "unique_clients.", sums -> sums.clients);
    distinct(setters, "unique_resolvers.", sums -> sums.resolvers);
    sketch(setters, "top_sketches.qnames", sums -> sums.topQnames);
    sketch(setters, "top_sketches.zones", sums -> sums.topZones);
    sketch(setters, "top_sketches.clients", sums -> sums.topClients);
    sketch(setters, "top_sketches.processes", sums -> sums.topProcesses);
    return setters;
  }

  private static void counter(
      Map<String, Setter<Draft>> setters, String path, Counter... counters) {
    for (Counter counter : counters) {
      setters.put(path + counter.field(), (window, json) -> window.sums.set(counter, count(json)));
    }
  }

  private static void counts(
      Map<String, Setter<Draft>> setters,
      String path,
      String name,
      Function<WindowSums, Map<String, Long>> counts) {
    setters.put(path + "[]." + name, (window, json) -> window.rowName = json.getText());
    setters.put(path + "[].count", (window, json) -> window.rowCount = count(json));
    setters.put(
        path + "[]",
        (window, json) ->
            counts.apply(window.sums).merge(window.rowName, window.rowCount, Long::sum));
  }

  private static void histogram(
      Map<String, Setter<Draft>> setters, String path, Function<WindowSums, Histogram> histogram) {
    setters.put(path + "[].up_to", (window, json) -> window.bucketBound = json.getDoubleValue());
    setters.put(path + "[].count", (window, json) -> window.rowCount = count(json));
    setters.put(path + "[]", (window, json) -> window.endBucket());
    setters.put(path, (window, json) -> window.endHistogram(histogram.apply(window.sums)));
  }

  private static void distinct(
      Map<String, Setter<Draft>> setters, String path, Function<WindowSums, DistinctCount> count) {
    setters.put(
        path + "estimate",
        (window, json) -> count.apply(window.sums).maskedEstimate = json.getDoubleValue());
    setters.put(
        path + "lower",
        (window, json) -> count.apply(window.sums).maskedLower = json.getDoubleValue());
    setters.put(
        path + "upper",
        (window, json) -> count.apply(window.sums).maskedUpper = json.getDoubleValue());
    sketch(setters, path + "sketch", sums -> count.apply(sums).sketch);
  }

  private static void sketch(
      Map<String, Setter<Draft>> setters, String path, Function<WindowSums, Lazy<?>> sketch) {
    setters.put(path, (window, json) -> sketch.apply(window.sums).set(base64(json)));
  }

  private static long count(JsonParser json) throws IOException, MalformedException {
    // Beyond a long, Jackson throws, and the record is malformed JSON.
    long count = json.getLongValue();
    if (count > MAX_COUNT) {
      throw new MalformedException("field", json.currentName() + ": too large a count");
    }
    return count;
  }

  /** Decodes by the JDK, in a fraction of the time that Jackson takes. */
  private static byte[] base64(JsonParser json) throws IOException {
    String text = json.getText();
    if (text.length() % 4 != 0) {
      throw new JsonParseException(json, "Base64 without its padding");
    }
    try {
      return Base64.getDecoder().decode(text);
    } catch (IllegalArgumentException error) {
      throw new JsonParseException(json, "not Base64: " + error.getMessage(), error);
    }
  }

  /** What has been read of a window. */
  static final class Draft {
    private final WindowSums sums = new WindowSums();
    private long sketchEncoding;
    private String eventId;
    int nodes;
    int revision;
    boolean isFinal;
    private String node;
    String region;
    private String transport;
    private String ts;
    private long length;
    private long step;
    private String grouping;
    private String vantage;
    private String resolver;
    private String zone;
    private String qtype;
    private boolean isOther;
    private double estimate;
    private double low;
    private double high;

    /** Fields of the row that is being read. */
    private String rowName;

    private long rowCount;

    /** Without one, the bucket has all values above the others. */
    private double bucketBound = Double.POSITIVE_INFINITY;

    /** Buckets of the histogram that is being read. */
    private double[] bounds = new double[32];

    private long[] counts = new long[32];
    private int buckets;

    private void endBucket() {
      if (buckets == bounds.length) {
        bounds = Arrays.copyOf(bounds, 2 * buckets);
        counts = Arrays.copyOf(counts, 2 * buckets);
      }
      bounds[buckets] = bucketBound;
      counts[buckets] = rowCount;
      buckets++;
      bucketBound = Double.POSITIVE_INFINITY;
    }

    private void endHistogram(Histogram histogram) {
      histogram.bounds = Arrays.copyOf(bounds, buckets);
      histogram.counts = Arrays.copyOf(counts, buckets);
      buckets = 0;
    }

    /** Returns window and group; {@code groupRegion} is that of the grouping {@code region}. */
    WindowKey key(String groupRegion) throws MalformedException {
      if (sketchEncoding != SKETCH_ENCODING) {
        throw new MalformedException(
            "field", "sketch_encoding: this job reads version " + SKETCH_ENCODING);
      }
      if (length < 1 || step < 1 || length > Integer.MAX_VALUE || step > length) {
        throw new MalformedException("field", "window_seconds, step_seconds: not a window");
      }
      OptionalLong start = Time.epochNanos(ts);
      if (start.isEmpty()) {
        throw new MalformedException("field", "ts: after the year 2262");
      }
      WindowKey key =
          new WindowKey(
              Math.floorDiv(start.getAsLong(), 1_000_000),
              (int) length,
              (int) step,
              grouping,
              vantage,
              groupRegion,
              resolver,
              zone,
              qtype,
              isOther);
      if (key.value() == null) {
        throw new MalformedException("missing_field", "no value of the group " + grouping);
      }
      if (key.value().length() > MAX_NAME || (region != null && region.length() > MAX_NAME)) {
        throw new MalformedException("field", "too long a value of the group " + grouping);
      }
      return key;
    }

    WindowSums sums() throws MalformedException {
      if (!sums.hasExact && WindowSums.EXACT_GROUPINGS.contains(grouping)) {
        sums.setExactFromExported();
      }
      sums.estimatedTransactions = sums.get(Counter.TRANSACTIONS);
      if (sums.isSampled) {
        setEstimate();
      }
      readSketches();
      return sums;
    }

    private void setEstimate() throws MalformedException {
      boolean isInterval = 0 <= low && low <= estimate && estimate <= high && high <= MAX_COUNT;
      if (!isInterval || estimate == 0) {
        throw new MalformedException("field", "estimated_transactions: not an estimate");
      }
      sums.estimatedTransactions = estimate;
      sums.lowSquared = (estimate - low) * (estimate - low);
      sums.highSquared = (high - estimate) * (high - estimate);
    }

    /** Refuses sketches that cannot be merged later, and drops those that never are. */
    private void readSketches() throws MalformedException {
      if (!NodeWindow.isMerged(grouping)) {
        sums.sketches().forEach(Lazy::clear);
        return;
      }
      sums.distinctCounts().forEach(DistinctCount::setUnknownIfAbsent);
      try {
        sums.sketches().forEach(Lazy::get);
        for (Lazy<FrequentSketch> top : sums.tops()) {
          if (top.isPresent()) {
            FrequentSketch.check(top.encode(), MAX_COUNT);
          }
        }
      } catch (IllegalArgumentException error) {
        throw new MalformedException("field", String.valueOf(error.getMessage()));
      }
      if (sums.latency.isMasked()
          || !sums.distinctCounts().stream().allMatch(DistinctCount::isValid)) {
        throw new MalformedException("field", "sketch: masked, and no estimate");
      }
      LatencySketch latency = sums.latency.get();
      if (latency != null && (latency.count() < 1 || latency.count() > MAX_LATENCIES)) {
        throw new MalformedException("field", "latency_ms.sketch: none, or too many values");
      }
    }
  }
}
