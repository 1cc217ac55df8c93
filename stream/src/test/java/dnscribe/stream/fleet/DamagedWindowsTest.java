package dnscribe.stream.fleet;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.Damage;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.MalformedException;
import dnscribe.stream.record.RecordChecker;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Damaged windows: each is refused, or can be merged, written and read again. */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class DamagedWindowsTest {
  private static final int ATTEMPTS = 20_000;
  private static final NodeWindowParser PARSER = new NodeWindowParser();
  private static final FleetWindowParser WRITTEN = new FleetWindowParser();
  private static final RecordChecker SCHEMA = new RecordChecker("dns.fleet/1");

  @Test
  void isMergedOrRefused() throws Exception {
    List<byte[]> records = Damage.goldens("windows.ndjson", "dns.window/1");
    List<WindowSums> others = new ArrayList<>();
    for (byte[] record : records) {
      others.add(PARSER.parse(record(record)).sums());
    }
    Damage damage = new Damage(1);
    int merged = 0;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      NodeWindow window;
      try {
        window = RecordReader.parse(PARSER, record(damage.json(damage.one(records))));
      } catch (MalformedException refused) {
        assertThat(refused.reason()).as(refused.getMessage()).isNotEqualTo("unreadable");
        continue;
      }
      if (NodeWindow.isMerged(window.key().grouping())) {
        merge(window, damage.one(others));
        merged++;
      }
    }
    assertThat(merged).isGreaterThan(ATTEMPTS / 20);
  }

  private static void merge(NodeWindow window, WindowSums other) throws MalformedException {
    WindowSums sums = new WindowSums();
    sums.add(window.sums());
    check(window.key(), sums);
    sums.add(other);
    sums.add(window.sums());
    check(window.key(), sums);
    // A roll-up.
    WindowSums all = new WindowSums();
    all.add(other);
    all.add(sums);
    check(window.key(), all);
  }

  /** Reads what is written of these sums. */
  private static void check(WindowKey key, WindowSums sums) throws MalformedException {
    NodeSet nodes = new NodeSet();
    nodes.add("n1");
    sums.latencyQuantileMs(0.99);
    WindowKey group = key.grouping().equals("node") ? key.regroup("all", null) : key;
    OutputRecord written = FleetRecord.of(new FleetWindow(group, 0, false, nodes, sums));
    SCHEMA.check(written.value());
    try {
      RecordReader.parse(WRITTEN, record(written.value()));
    } catch (MalformedException refused) {
      // It takes no more of anything than a node's window has.
      assertThat(refused.reason()).as(refused.getMessage()).isEqualTo("field");
    }
  }

  /** Each part of a sketch is one that it may be cut off at. */
  @ParameterizedTest
  @ValueSource(strings = {"unique_clients", "unique_qnames", "unique_resolvers", "latency_ms"})
  void refusesSketchesThatAreCutOff(String field) {
    ObjectNode json = Windows.golden(0);
    ObjectNode fields = (ObjectNode) json.path(field);
    byte[] whole = Base64.getDecoder().decode(fields.path("sketch").asText());
    byte[] cut = Arrays.copyOf(whole, whole.length - 1);
    fields.put("sketch", Base64.getEncoder().encodeToString(cut));
    assertThat(refusal(json)).isEqualTo("field");
  }

  @Test
  void refusesALatencySketchWithoutValues() {
    ObjectNode json = Windows.golden(0);
    ((ObjectNode) json.path("latency_ms")).put("sketch", "CgkJ/UqBWr9S8D8=");
    assertThat(refusal(json)).isEqualTo("field");
  }

  /** A former version took such windows, and they are in its savepoints. */
  @Test
  void writesWindowsOfALatencySketchWithoutValues() throws MalformedException {
    NodeWindow window = Windows.parse(Windows.golden(0));
    window.sums().latency.set(Base64.getDecoder().decode("CgkJ/UqBWr9S8D8="));
    check(window.key(), window.sums());
    assertThat(window.sums().latencyQuantileMs(0.5)).isNaN();
  }

  private static String refusal(ObjectNode json) {
    return catchThrowableOfType(MalformedException.class, () -> Windows.parse(json)).reason();
  }

  private static KafkaRecord record(byte[] value) {
    return new KafkaRecord("dns.metrics", 0, 0, 0, null, value);
  }
}
