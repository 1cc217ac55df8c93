package dnscribe.stream.fleet;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.record.MalformedException;
import dnscribe.stream.record.RecordSchema;
import java.io.IOException;
import java.time.Instant;
import java.util.Map;

/** Reads {@code dns.window/1}. */
final class NodeWindowParser implements RecordReader.Parser<NodeWindow> {
  /** Version of the sketches' encodings that can be merged. */
  private static final int SKETCH_ENCODING = 1;

  private static final ObjectMapper JSON =
      JsonMapper.builder()
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          // Bounds of histograms, which the JDK parses slowly.
          .enable(StreamReadFeature.USE_FAST_DOUBLE_PARSER)
          .build();
  private final RecordSchema schema = RecordSchema.load("dns.window/1");

  @Override
  public NodeWindow parse(KafkaRecord record) throws MalformedException {
    try {
      JsonNode json = JSON.readTree(record.value());
      schema.check(json);
      if (json.path("sketch_encoding").asInt() != SKETCH_ENCODING) {
        throw new MalformedException(
            "field", "sketch_encoding: this job reads version " + SKETCH_ENCODING);
      }
      return new NodeWindow(
          record.partition(),
          record.timestamp(),
          json.path("event_id").asText(),
          json.path("node").asText(),
          text(json, "region"),
          text(json, "transport"),
          key(json),
          sums(json));
    } catch (JsonProcessingException error) {
      throw new MalformedException("json", error.getOriginalMessage());
    } catch (IOException error) {
      throw new MalformedException("json", String.valueOf(error.getMessage()));
    } catch (IllegalArgumentException error) {
      // A sketch that cannot be read.
      throw new MalformedException("field", String.valueOf(error.getMessage()));
    }
  }

  private static WindowKey key(JsonNode json) throws MalformedException {
    long length = json.path("window_seconds").asLong();
    long step = json.path("step_seconds").asLong();
    if (length < 1 || step < 1 || length > Integer.MAX_VALUE || step > length) {
      throw new MalformedException("field", "window_seconds, step_seconds: not a window");
    }
    return new WindowKey(
        Instant.parse(json.path("ts").asText()).toEpochMilli(),
        (int) length,
        (int) step,
        json.path("grouping").asText(),
        json.path("vantage").asText(),
        null,
        text(json, "resolver"),
        text(json, "zone"),
        text(json, "qtype"),
        json.path("other").asBoolean());
  }

  private static WindowSums sums(JsonNode json) throws IOException {
    WindowSums sums = new WindowSums();
    sums.set(Counter.TRANSACTIONS, json.path("transactions").asLong());
    counters(sums, Counter.STATUSES, json.path("statuses"));
    counters(sums, Counter.PLAIN, json);
    counts(sums.rcodes, json.path("rcodes"), "rcode");
    counts(sums.qtypes, json.path("qtypes"), "qtype");
    histogram(sums.qnameEntropy, json.path("qname_entropy"));
    histogram(sums.labelLengths, json.path("label_lengths"));
    histogram(sums.minTtls, json.path("min_ttls"));
    sums.isPartial = json.path("partial").asBoolean();
    sums.isUndercounted = json.path("undercounted").asBoolean();
    estimate(sums, json);
    if (json.has("exact")) {
      sums.hasExact = true;
      counters(sums, Counter.EXACT, json.path("exact"));
      counts(sums.exactRcodes, json.path("exact").path("rcodes"), "rcode");
    } else if (WindowSums.EXACT_GROUPINGS.contains(json.path("grouping").asText())) {
      sums.setExactFromExported();
    }
    sums.latencyMaxMs = json.path("latency_ms").path("max").asDouble();
    sketch(sums.latency, json.path("latency_ms").path("sketch"));
    sketch(sums.qnames, json.path("unique_qnames").path("sketch"));
    sketch(sums.clients, json.path("unique_clients").path("sketch"));
    sketch(sums.resolvers, json.path("unique_resolvers").path("sketch"));
    JsonNode tops = json.path("top_sketches");
    sketch(sums.topQnames, tops.path("qnames"));
    sketch(sums.topZones, tops.path("zones"));
    sketch(sums.topClients, tops.path("clients"));
    sketch(sums.topProcesses, tops.path("processes"));
    return sums;
  }

  private static void estimate(WindowSums sums, JsonNode json) {
    JsonNode estimate = json.path("estimated_transactions");
    sums.isSampled = json.has("sample_ratio");
    double value = estimate.path("value").asDouble((double) sums.get(Counter.TRANSACTIONS));
    double low = value - estimate.path("low").asDouble(value);
    double high = estimate.path("high").asDouble(value) - value;
    sums.estimatedTransactions = value;
    sums.lowSquared = low * low;
    sums.highSquared = high * high;
  }

  private static void counters(WindowSums sums, Counter[] counters, JsonNode json) {
    for (Counter counter : counters) {
      sums.set(counter, json.path(counter.field()).asLong());
    }
  }

  private static void counts(Map<String, Long> counts, JsonNode rows, String name) {
    for (JsonNode row : rows) {
      counts.merge(row.path(name).asText(), row.path("count").asLong(), Long::sum);
    }
  }

  private static void histogram(Histogram histogram, JsonNode rows) {
    histogram.bounds = new double[rows.size()];
    histogram.counts = new long[rows.size()];
    for (int i = 0; i < rows.size(); i++) {
      histogram.bounds[i] = rows.get(i).path("up_to").asDouble(Double.POSITIVE_INFINITY);
      histogram.counts[i] = rows.get(i).path("count").asLong();
    }
  }

  private static void sketch(Lazy<?> sketch, JsonNode text) throws IOException {
    if (text.isTextual()) {
      sketch.set(text.binaryValue());
      // Refuses what cannot be merged later.
      sketch.get();
    }
  }

  private static String text(JsonNode json, String field) {
    JsonNode value = json.get(field);
    return value == null ? null : value.asText();
  }
}
