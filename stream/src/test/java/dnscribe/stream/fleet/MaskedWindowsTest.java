package dnscribe.stream.fleet;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.Records;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.RecordChecker;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Windows that an agent wrote with each class of values masked in each way: without the sketches of
 * these values.
 */
class MaskedWindowsTest {
  private static final String[] UNIQUE = {"unique_qnames", "unique_clients", "unique_resolvers"};

  static List<ObjectNode> windows() throws IOException {
    Path file = Path.of("src", "test", "resources", "windows", "masked.ndjson");
    return Files.readAllLines(file).stream().map(MaskedWindowsTest::json).toList();
  }

  @ParameterizedTest
  @MethodSource("windows")
  void keepTheirEstimatesAlone(ObjectNode window) throws Exception {
    JsonNode merged = merge(window, 1);
    for (String name : UNIQUE) {
      for (String bound : new String[] {"estimate", "lower", "upper"}) {
        double value = merged.path(name).path(bound).asDouble();
        assertThat(value).isEqualTo(window.path(name).path(bound).asDouble());
      }
      boolean isMasked = window.path(name).path("sketch").asText().isEmpty();
      assertThat(merged.path(name).path("sketch").asText().isEmpty()).isEqualTo(isMasked);
    }
  }

  /** Twice the same values, or twice as many: without a sketch nobody knows. */
  @ParameterizedTest
  @MethodSource("windows")
  void mergedOnesHaveNoNumberThatIsUnknown(ObjectNode window) throws Exception {
    JsonNode merged = merge(window, 2);
    assertThat(merged.path("transactions").asLong())
        .isEqualTo(2 * window.path("transactions").asLong());
    for (String name : UNIQUE) {
      boolean isMasked = window.path(name).path("sketch").asText().isEmpty();
      assertThat(merged.has(name)).as(name).isEqualTo(!isMasked);
    }
    for (String name : new String[] {"qnames", "zones", "clients", "processes"}) {
      JsonNode sketch = window.path("top_sketches").path(name);
      boolean isKnown = sketch.isTextual() && !sketch.asText().isEmpty();
      assertThat(merged.has("top_" + name)).as(name).isEqualTo(isKnown);
      assertThat(merged.path("top_sketches").has(name)).isEqualTo(sketch.isTextual());
    }
  }

  /** Returns the record of the merged windows of so many nodes; checks its other forms. */
  private static JsonNode merge(ObjectNode window, int nodes) throws Exception {
    NodeWindow parsed = Windows.parse(window);
    OpenWindow open = OpenWindow.of(parsed.key());
    boolean isOfNode = parsed.key().grouping().equals("node");
    if (isOfNode) {
      open.key = parsed.key().regroup("all", null);
    }
    for (int node = 0; node < nodes; node++) {
      NodeSet names = new NodeSet();
      names.add("n" + node);
      // As between the subtasks of a job, and in its state.
      WindowSums sums = WindowSumsTypeFactory.Serializer.INSTANCE.copy(parsed.sums());
      open.add(new FleetWindow(open.key, 0, true, names, sums));
    }
    open.revision = 0;
    open.sums = WindowSumsTypeFactory.Serializer.INSTANCE.copy(open.sums);
    FleetWindow merged = open.snapshot(true);
    OutputRecord record = FleetRecord.of(merged);
    new RecordChecker("dns.fleet/1").check(record.value());
    FleetWindow read =
        new FleetWindowParser()
            .parse(new KafkaRecord("dns.fleet", 0, 0, 0, record.key(), record.value()));
    assertThat(read.key()).isEqualTo(open.key);
    assertThat(Records.text(FleetRecord.of(read).value())).isEqualTo(Records.text(record.value()));
    JsonNode json = json(Records.text(record.value()));
    String point = Records.text(InfluxPoint.of(read, true).value());
    assertThat(point).doesNotContain("NaN");
    assertThat(point.contains(",unique_clients=")).isEqualTo(json.has("unique_clients"));
    return json;
  }

  private static ObjectNode json(String text) {
    try {
      return (ObjectNode) Windows.JSON.readTree(text);
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }
}
