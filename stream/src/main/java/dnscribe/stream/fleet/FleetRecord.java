package dnscribe.stream.fleet;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import dnscribe.stream.kafka.OutputRecord;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Comparator;
import java.util.Map;
import org.apache.datasketches.frequencies.ItemsSketch;

/** Writes {@code dns.fleet/1}: the fields of {@code dns.window/1} and those of merged windows. */
final class FleetRecord {
  static final String SCHEMA = "dns.fleet/1";

  /** Node of these records: no agent wrote them. */
  private static final String NODE = "fleet";

  private static final int SKETCH_ENCODING = 1;

  /** Length of the lists of most frequent values. */
  private static final int RANKS = 10;

  private static final JsonFactory JSON = new JsonFactory();

  private FleetRecord() {}

  static OutputRecord of(FleetWindow window) {
    byte[] key = window.key().group().getBytes(StandardCharsets.UTF_8);
    return new OutputRecord(SCHEMA, NODE, window.eventId(), key, json(window));
  }

  private static byte[] json(FleetWindow window) {
    ByteArrayOutputStream out = new ByteArrayOutputStream(4096);
    try (JsonGenerator json = JSON.createGenerator(out)) {
      json.writeStartObject();
      head(json, window);
      sums(json, window.key(), window.sums());
      json.writeEndObject();
    } catch (IOException impossible) {
      throw new IllegalStateException(impossible);
    }
    return out.toByteArray();
  }

  private static void head(JsonGenerator json, FleetWindow window) throws IOException {
    WindowKey key = window.key();
    WindowSums sums = window.sums();
    json.writeStringField("schema", SCHEMA);
    json.writeStringField("event_id", window.eventId());
    json.writeStringField("ts", Instant.ofEpochMilli(key.startMs()).toString());
    json.writeStringField("node", NODE);
    text(json, "region", key.region());
    json.writeNumberField("window_seconds", key.lengthSeconds());
    json.writeNumberField("step_seconds", key.stepSeconds());
    flag(json, "partial", sums.isPartial);
    json.writeNumberField("sketch_encoding", SKETCH_ENCODING);
    json.writeStringField("grouping", key.grouping());
    json.writeStringField("vantage", key.vantage());
    text(json, "resolver", key.resolver());
    text(json, "zone", key.zone());
    text(json, "qtype", key.qtype());
    flag(json, "other", key.isOther());
    flag(json, "undercounted", sums.isUndercounted);
    json.writeNumberField("nodes", window.nodes().size);
    json.writeNumberField("revision", window.revision());
    json.writeBooleanField("final", window.isFinal());
  }

  private static void sums(JsonGenerator json, WindowKey key, WindowSums sums) throws IOException {
    json.writeNumberField("transactions", sums.get(Counter.TRANSACTIONS));
    if (sums.isSampled) {
      double value = sums.estimatedTransactions;
      json.writeNumberField("sample_ratio", sums.get(Counter.TRANSACTIONS) / value);
      json.writeObjectFieldStart("estimated_transactions");
      json.writeNumberField("value", value);
      json.writeNumberField("low", value - Math.sqrt(sums.lowSquared));
      json.writeNumberField("high", value + Math.sqrt(sums.highSquared));
      json.writeEndObject();
    }
    if (sums.hasExact) {
      json.writeObjectFieldStart("exact");
      counters(json, Counter.EXACT, sums);
      counts(json, "rcodes", "rcode", sums.exactRcodes);
      json.writeEndObject();
    }
    json.writeObjectFieldStart("statuses");
    counters(json, Counter.STATUSES, sums);
    json.writeEndObject();
    counters(json, Counter.PLAIN, sums);
    double seconds = key.lengthSeconds();
    json.writeNumberField("query_rate", sums.get(Counter.QUERIES) / seconds);
    counts(json, "rcodes", "rcode", sums.rcodes);
    counts(json, "qtypes", "qtype", sums.qtypes);
    for (Map.Entry<String, Double> ratio : Ratios.of(sums).entrySet()) {
      json.writeNumberField(ratio.getKey(), ratio.getValue());
    }
    latency(json, sums);
    distinct(json, "unique_qnames", sums.qnames);
    distinct(json, "unique_clients", sums.clients);
    distinct(json, "unique_resolvers", sums.resolvers);
    tops(json, sums);
    histogram(json, "qname_entropy", sums.qnameEntropy);
    histogram(json, "label_lengths", sums.labelLengths);
    histogram(json, "min_ttls", sums.minTtls);
  }

  private static void latency(JsonGenerator json, WindowSums sums) throws IOException {
    LatencySketch sketch = sums.latency.get();
    if (sketch == null || sketch.isEmpty()) {
      return;
    }
    json.writeObjectFieldStart("latency_ms");
    json.writeNumberField("count", sketch.count());
    json.writeNumberField("p50", sketch.quantile(0.5));
    json.writeNumberField("p90", sketch.quantile(0.9));
    json.writeNumberField("p95", sketch.quantile(0.95));
    json.writeNumberField("p99", sketch.quantile(0.99));
    json.writeNumberField("max", sums.latencyMaxMs);
    json.writeBinaryField("sketch", sums.latency.encode());
    json.writeEndObject();
  }

  private static void distinct(JsonGenerator json, String field, DistinctCount count)
      throws IOException {
    if (Double.isNaN(count.estimate())) {
      return;
    }
    byte[] sketch = count.sketch.encode();
    json.writeObjectFieldStart(field);
    json.writeNumberField("estimate", count.estimate());
    json.writeNumberField("lower", count.lower());
    json.writeNumberField("upper", count.upper());
    json.writeBinaryField("sketch", sketch == null ? DistinctSketch.empty().encode() : sketch);
    json.writeEndObject();
  }

  private static void tops(JsonGenerator json, WindowSums sums) throws IOException {
    String[] names = {"qnames", "zones", "clients", "processes"};
    Lazy<?>[] sketches = {sums.topQnames, sums.topZones, sums.topClients, sums.topProcesses};
    if (sketches[0].encode() == null) {
      return;
    }
    for (int i = 0; i < names.length; i++) {
      if (sketches[i].isMasked()) {
        continue;
      }
      json.writeArrayFieldStart("top_" + names[i]);
      FrequentSketch values = (FrequentSketch) sketches[i].get();
      ItemsSketch.Row<String>[] rows = values.rows();
      for (int rank = 0; rank < Math.min(RANKS, rows.length); rank++) {
        json.writeStartObject();
        json.writeStringField("value", rows[rank].getItem());
        json.writeNumberField("lower", rows[rank].getLowerBound());
        json.writeNumberField("upper", rows[rank].getUpperBound());
        json.writeEndObject();
      }
      json.writeEndArray();
    }
    json.writeObjectFieldStart("top_sketches");
    for (int i = 0; i < names.length; i++) {
      json.writeBinaryField(names[i], sketches[i].encode());
    }
    json.writeEndObject();
  }

  private static void counters(JsonGenerator json, Counter[] counters, WindowSums sums)
      throws IOException {
    for (Counter counter : counters) {
      json.writeNumberField(counter.field(), sums.get(counter));
    }
  }

  private static void counts(
      JsonGenerator json, String field, String name, Map<String, Long> counts) throws IOException {
    json.writeArrayFieldStart(field);
    var mostFrequentFirst =
        Map.Entry.<String, Long>comparingByValue(Comparator.reverseOrder())
            .thenComparing(Map.Entry.comparingByKey());
    for (var row : counts.entrySet().stream().sorted(mostFrequentFirst).toList()) {
      json.writeStartObject();
      json.writeStringField(name, row.getKey());
      json.writeNumberField("count", row.getValue());
      json.writeEndObject();
    }
    json.writeEndArray();
  }

  private static void histogram(JsonGenerator json, String field, Histogram histogram)
      throws IOException {
    json.writeArrayFieldStart(field);
    for (int i = 0; i < histogram.counts.length; i++) {
      json.writeStartObject();
      if (histogram.bounds[i] != Double.POSITIVE_INFINITY) {
        json.writeNumberField("up_to", histogram.bounds[i]);
      }
      json.writeNumberField("count", histogram.counts[i]);
      json.writeEndObject();
    }
    json.writeEndArray();
  }

  private static void text(JsonGenerator json, String field, String value) throws IOException {
    if (value != null) {
      json.writeStringField(field, value);
    }
  }

  private static void flag(JsonGenerator json, String field, boolean value) throws IOException {
    if (value) {
      json.writeBooleanField(field, true);
    }
  }
}
