package dnscribe.stream.fleet;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.record.MalformedException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.HashMap;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class NodeWindowParserTest {
  @Test
  void readsWhatTheRecordSays() throws MalformedException {
    for (int line = 0; line < Windows.goldens(); line++) {
      ObjectNode json = Windows.golden(line);
      NodeWindow window = Windows.parse(json);
      WindowSums sums = window.sums();
      assertThat(window.eventId()).isEqualTo(json.path("event_id").asText());
      assertThat(window.node()).isEqualTo(json.path("node").asText());
      assertThat(window.key().grouping()).isEqualTo(json.path("grouping").asText());
      assertThat(window.key().resolver()).isEqualTo(text(json.path("resolver")));
      assertThat(sums.get(Counter.TRANSACTIONS)).isEqualTo(json.path("transactions").asLong());
      for (Counter counter : Counter.STATUSES) {
        assertThat(sums.get(counter))
            .isEqualTo(json.path("statuses").path(counter.field()).asLong());
      }
      for (Counter counter : Counter.PLAIN) {
        assertThat(sums.get(counter)).isEqualTo(json.path(counter.field()).asLong());
      }
      assertThat(sums.rcodes).isEqualTo(counts(json.path("rcodes"), "rcode"));
      assertThat(sums.qtypes).isEqualTo(counts(json.path("qtypes"), "qtype"));
      check(sums.qnameEntropy, json.path("qname_entropy"));
      check(sums.labelLengths, json.path("label_lengths"));
      check(sums.minTtls, json.path("min_ttls"));
      assertThat(sums.latencyMaxMs).isEqualTo(json.path("latency_ms").path("max").asDouble());
      boolean isMerged = NodeWindow.isMerged(window.key().grouping());
      assertThat(sums.qnames.sketch.isPresent()).isEqualTo(isMerged);
      assertThat(sums.latency.isPresent()).isEqualTo(isMerged && json.has("latency_ms"));
      assertThat(sums.topQnames.isPresent()).isEqualTo(json.has("top_sketches"));
    }
  }

  @Test
  void keepsNoSketchesOfWindowsThatAreNeverMerged() throws MalformedException {
    for (String grouping : new String[] {"process", "pod"}) {
      WindowSums sums = Windows.parse(Windows.golden(0).put("grouping", grouping)).sums();
      assertThat(sums.sketches()).noneMatch(Lazy::isPresent);
      assertThat(sums.get(Counter.TRANSACTIONS)).isPositive();
    }
  }

  @Test
  void readsFieldsInAnyOrder() throws MalformedException {
    ObjectNode json = Windows.golden(0);
    ObjectNode turned = Windows.JSON.createObjectNode();
    json.properties().stream()
        .sorted(Map.Entry.<String, JsonNode>comparingByKey().reversed())
        .forEach(field -> turned.set(field.getKey(), field.getValue()));
    for (JsonNode row : turned.path("rcodes")) {
      JsonNode name = ((ObjectNode) row).remove("rcode");
      ((ObjectNode) row).set("rcode", name);
    }
    assertThat(Windows.parse(turned).sums().rcodes).isEqualTo(Windows.parse(json).sums().rcodes);
    assertThat(Windows.parse(turned).key()).isEqualTo(Windows.parse(json).key());
  }

  @Test
  void takesTheExactCountersAndTheEstimate() throws MalformedException {
    ObjectNode json = Windows.golden(0).put("sample_ratio", 0.5);
    json.putObject("estimated_transactions").put("value", 200).put("low", 190).put("high", 220.5);
    ObjectNode exact = json.putObject("exact");
    for (Counter counter : Counter.EXACT) {
      exact.put(counter.field(), 100 + counter.index());
    }
    exact.putArray("rcodes").addObject().put("rcode", "REFUSED").put("count", 7);
    WindowSums sums = Windows.parse(json).sums();
    assertThat(sums.isSampled).isTrue();
    assertThat(sums.hasExact).isTrue();
    assertThat(sums.estimatedTransactions).isEqualTo(200);
    assertThat(sums.lowSquared).isEqualTo(100);
    assertThat(sums.highSquared).isEqualTo(20.5 * 20.5);
    for (Counter counter : Counter.EXACT) {
      assertThat(sums.get(counter)).isEqualTo(100 + counter.index());
    }
    assertThat(sums.exactRcodes).isEqualTo(Map.of("REFUSED", 7L));
  }

  @ParameterizedTest
  @MethodSource("malformed")
  void refusesWhatCannotBeMerged(String reason, Consumer<ObjectNode> change) {
    ObjectNode json = Windows.golden(0);
    change.accept(json);
    MalformedException error =
        catchThrowableOfType(MalformedException.class, () -> Windows.parse(json));
    assertThat(error.reason()).isEqualTo(reason);
  }

  static Stream<Arguments> malformed() {
    Consumer<ObjectNode> noSketch = json -> qnames(json).put("sketch", "AAAA");
    Consumer<ObjectNode> noBase64 = json -> qnames(json).put("sketch", "%%%%");
    Consumer<ObjectNode> otherEncoding = json -> json.put("sketch_encoding", 2);
    Consumer<ObjectNode> noLength = json -> json.put("window_seconds", 0);
    Consumer<ObjectNode> noDay = json -> json.put("ts", "2026-02-31T00:00:00Z");
    Consumer<ObjectNode> noYear = json -> json.put("ts", "9999-01-01T00:00:00Z");
    Consumer<ObjectNode> noResolver =
        json -> json.put("grouping", "resolver+zone").put("zone", "a");
    Consumer<ObjectNode> wideStep = json -> json.put("step_seconds", 1_000_000);
    Consumer<ObjectNode> noNumber =
        json -> ((ObjectNode) json.path("latency_ms")).put("max", new BigDecimal("1e999"));
    Consumer<ObjectNode> tooMany =
        json ->
            ((ObjectNode) json.path("latency_ms")).put("sketch", LatencySketchTest.bin(3, 0x1p37));
    Consumer<ObjectNode> longResolver =
        json -> json.put("grouping", "resolver").put("resolver", "x".repeat(4097));
    Consumer<ObjectNode> rowWithoutCount = json -> json.putArray("rcodes").addObject();
    Consumer<ObjectNode> largeCount = json -> json.put("transactions", (1L << 43) + 1);
    Consumer<ObjectNode> largeRow =
        json -> json.putArray("qtypes").addObject().put("qtype", "A").put("count", Long.MAX_VALUE);
    Consumer<ObjectNode> beyondLong =
        json -> json.put("query_bytes", BigInteger.TWO.pow(64).subtract(BigInteger.ONE));
    Consumer<ObjectNode> largeBucket =
        json -> json.putArray("min_ttls").addObject().put("up_to", 1).put("count", 1L << 44);
    return Stream.of(
        Arguments.of("field", noSketch),
        Arguments.of("json", noBase64),
        Arguments.of("field", otherEncoding),
        Arguments.of("field", noLength),
        Arguments.of("field", wideStep),
        Arguments.of("field", noDay),
        Arguments.of("field", noYear),
        Arguments.of("field", noNumber),
        Arguments.of("field", tooMany),
        Arguments.of("missing_field", noResolver),
        Arguments.of("field", longResolver),
        Arguments.of("missing_field", rowWithoutCount),
        Arguments.of("field", largeCount),
        Arguments.of("field", largeRow),
        Arguments.of("json", beyondLong),
        Arguments.of("field", largeBucket),
        Arguments.of("field", estimate(0, 0, 0)),
        Arguments.of("field", estimate(-1, 5, 9)),
        Arguments.of("field", estimate(7, 5, 9)),
        Arguments.of("field", estimate(1, 5, 4)),
        Arguments.of("field", estimate(1, 5, 1e300)));
  }

  private static Consumer<ObjectNode> estimate(double low, double value, double high) {
    return json ->
        json.put("sample_ratio", 0.5)
            .putObject("estimated_transactions")
            .put("low", low)
            .put("value", value)
            .put("high", high);
  }

  private static ObjectNode qnames(ObjectNode json) {
    return (ObjectNode) json.path("unique_qnames");
  }

  private static String text(JsonNode json) {
    return json.isMissingNode() ? null : json.asText();
  }

  private static Map<String, Long> counts(JsonNode rows, String name) {
    Map<String, Long> counts = new HashMap<>();
    rows.forEach(row -> counts.put(row.path(name).asText(), row.path("count").asLong()));
    return counts;
  }

  private static void check(Histogram histogram, JsonNode rows) {
    assertThat(histogram.bounds).hasSize(rows.size());
    for (int i = 0; i < rows.size(); i++) {
      assertThat(histogram.bounds[i])
          .isEqualTo(rows.get(i).path("up_to").asDouble(Double.POSITIVE_INFINITY));
      assertThat(histogram.counts[i]).isEqualTo(rows.get(i).path("count").asLong());
    }
  }
}
