package dnscribe.stream.fleet;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.Savepoints;
import dnscribe.stream.record.RecordChecker;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.AbstractStreamOperatorTestHarness;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Deduplication and merge together: merged windows are the sums over the nodes' windows. */
class MergeTest {
  private static final long START = 1_800_000_000_000L;
  private static final int SPANS = 4;
  private static final int MAX_PARALLELISM = 8;
  private static final String[] COUNTERS = {
    "transactions", "queries", "successes", "retries", "query_bytes", "response_bytes"
  };

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8})
  void mergedWindowsAreTheSumsOverTheNodes(long seed) throws Exception {
    Random random = new Random(seed);
    List<ObjectNode> windows = windows(random);
    Map<String, Map<String, Long>> expected = expected(windows);
    List<ObjectNode> sent = new ArrayList<>(windows);
    for (int i = 0; i < windows.size() / 3; i++) {
      sent.add(windows.get(random.nextInt(windows.size())));
    }
    Collections.shuffle(sent, random);

    List<FleetWindow> written = new ArrayList<>();
    int half = sent.size() / 2;
    var states = new ArrayList<OperatorSubtaskState>();
    try (var deduplicator = deduplicator()) {
      deduplicator.open();
      // With one subtask until a savepoint, then with two.
      try (var merger = merger(1, 0)) {
        merger.open();
        merger.setProcessingTime(START + 60_000);
        process(deduplicator, List.of(merger), sent.subList(0, half));
        merger.processWatermark(new Watermark(START + random.nextInt(SPANS * 10_000)));
        states.add(merger.snapshot(1, 1));
        written.addAll(merger.extractOutputValues());
      }
      OperatorSubtaskState state = AbstractStreamOperatorTestHarness.repackageState(states.get(0));
      var mergers =
          new ArrayList<KeyedOneInputStreamOperatorTestHarness<String, NodeWindow, FleetWindow>>();
      for (int subtask = 0; subtask < 2; subtask++) {
        var merger = merger(2, subtask);
        merger.initializeState(
            AbstractStreamOperatorTestHarness.repartitionOperatorState(
                state, MAX_PARALLELISM, 1, 2, subtask));
        merger.open();
        merger.setProcessingTime(START + 60_000);
        mergers.add(merger);
      }
      process(deduplicator, mergers, sent.subList(half, sent.size()));
      for (var merger : mergers) {
        merger.processWatermark(Watermark.MAX_WATERMARK);
        written.addAll(merger.extractOutputValues());
        merger.close();
      }
    }
    check(written, expected);
  }

  private static void check(List<FleetWindow> written, Map<String, Map<String, Long>> expected)
      throws Exception {
    RecordChecker schema = new RecordChecker("dns.fleet/1");
    Map<String, Map<String, Long>> found = new HashMap<>();
    Map<String, Integer> revisions = new HashMap<>();
    Set<String> ids = new HashSet<>();
    for (FleetWindow window : written) {
      String key = window.key().text();
      byte[] record = FleetRecord.of(window).value();
      schema.check(record);
      assertThat(ids.add(window.eventId())).isTrue();
      assertThat(window.revision()).isGreaterThanOrEqualTo(revisions.getOrDefault(key, -1));
      revisions.put(key, window.revision());
      if (window.isFinal()) {
        assertThat(found.put(key, sums(Windows.JSON.readTree(record)))).isNull();
        found.get(key).put("nodes", (long) window.nodes().size);
      }
    }
    assertThat(found).isEqualTo(expected);
  }

  /** Time is the fleet's progress: a job that was away for a day has forgotten nothing. */
  @Test
  void windowsAreKnownForTheirTimeAlsoAfterARestart() throws Exception {
    NodeWindow window = Windows.parse(Windows.node("n", START, 1));
    OperatorSubtaskState state;
    try (var deduplicator = deduplicator()) {
      deduplicator.open();
      deduplicator.setProcessingTime(START);
      deduplicator.processWatermark(new Watermark(START));
      deduplicator.processElement(new StreamRecord<>(window));
      state = deduplicator.snapshot(1, 1);
      assertThat(deduplicator.extractOutputValues()).hasSize(1);
    }
    for (OperatorSubtaskState restored : Savepoints.withKept("window-deduplicator", state)) {
      try (var deduplicator = deduplicator()) {
        deduplicator.initializeState(restored);
        deduplicator.open();
        deduplicator.setProcessingTime(START + Duration.ofDays(1).toMillis());
        deduplicator.setStateTtlProcessingTime(START + Duration.ofDays(1).toMillis());
        for (int minutes : new int[] {-60, 0, 119}) {
          deduplicator.processWatermark(new Watermark(START + minutes * 60_000L));
          deduplicator.processElement(new StreamRecord<>(window));
          assertThat(deduplicator.extractOutputValues()).isEmpty();
        }
        deduplicator.processWatermark(new Watermark(START + 122 * 60_000L));
        assertThat(deduplicator.numKeyedStateEntries()).isZero();
      }
    }
  }

  @Test
  void latencyQuantilesAreThoseOfAllValues() throws Exception {
    WindowSums merged = new WindowSums();
    List<Double> all = new ArrayList<>();
    Random random = new Random(9);
    for (int node = 0; node < 20; node++) {
      LatencySketch sketch = LatencySketch.empty();
      for (int i = 0; i < 1_000; i++) {
        double value = Math.exp(random.nextGaussian() * 2);
        sketch.add(value);
        all.add(value);
      }
      WindowSums sums = new WindowSums();
      sums.latency.set(sketch.encode());
      merged.add(sums);
    }
    Collections.sort(all);
    for (double rank : new double[] {0, 0.5, 0.9, 0.99, 1}) {
      double exact = all.get((int) (rank * (all.size() - 1)));
      assertThat(merged.latencyQuantileMs(rank)).isBetween(exact * 0.9899, exact * 1.0101);
    }
  }

  /** Returns windows of several nodes, spans and vantages with random counters. */
  private static List<ObjectNode> windows(Random random) {
    List<ObjectNode> windows = new ArrayList<>();
    int id = 0;
    for (int node = 0; node < 5 + random.nextInt(10); node++) {
      for (int span = 0; span < SPANS; span++) {
        for (String vantage : new String[] {"client", "server"}) {
          if (random.nextInt(4) == 0) {
            continue;
          }
          ObjectNode window = Windows.node("n" + node, START + span * 10_000L, id++);
          window.put("vantage", vantage);
          for (String counter : COUNTERS) {
            window.put(counter, random.nextInt(1_000_000));
          }
          ((ObjectNode) window.get("statuses")).put("timeout", random.nextInt(1000));
          ArrayNode rcodes = window.putArray("rcodes");
          rcodes.addObject().put("rcode", "NOERROR").put("count", random.nextInt(1000));
          rcodes.addObject().put("rcode", "RCODE" + random.nextInt(3)).put("count", 1);
          windows.add(window);
        }
      }
    }
    return windows;
  }

  private static Map<String, Map<String, Long>> expected(List<ObjectNode> windows)
      throws Exception {
    Map<String, Map<String, Long>> expected = new HashMap<>();
    for (ObjectNode window : windows) {
      String key = Windows.parse(window).key().regroup("all", null).text();
      Map<String, Long> sums = expected.computeIfAbsent(key, text -> new HashMap<>());
      sums(window).forEach((name, value) -> sums.merge(name, value, Long::sum));
      sums.merge("nodes", 1L, Long::sum);
    }
    return expected;
  }

  private static Map<String, Long> sums(JsonNode record) {
    Map<String, Long> sums = new HashMap<>();
    for (String counter : COUNTERS) {
      sums.put(counter, record.path(counter).asLong());
    }
    sums.put("timeout", record.path("statuses").path("timeout").asLong());
    record
        .path("rcodes")
        .forEach(
            row -> sums.merge(row.path("rcode").asText(), row.path("count").asLong(), Long::sum));
    record
        .path("min_ttls")
        .forEach(
            row -> sums.put("ttl " + row.path("up_to").asText("-"), row.path("count").asLong()));
    return sums;
  }

  private static void process(
      KeyedOneInputStreamOperatorTestHarness<String, NodeWindow, NodeWindow> deduplicator,
      List<KeyedOneInputStreamOperatorTestHarness<String, NodeWindow, FleetWindow>> mergers,
      List<ObjectNode> windows)
      throws Exception {
    int before = deduplicator.extractOutputValues().size();
    for (ObjectNode window : windows) {
      deduplicator.processElement(new StreamRecord<>(Windows.parse(window)));
    }
    List<NodeWindow> unique = deduplicator.extractOutputValues();
    for (NodeWindow window : unique.subList(before, unique.size())) {
      NodeWindow all = window.withKey(window.key().regroup("all", null));
      int subtask =
          org.apache.flink.runtime.state.KeyGroupRangeAssignment.assignKeyToParallelOperator(
              all.key().text(), MAX_PARALLELISM, mergers.size());
      mergers.get(subtask).processElement(new StreamRecord<>(all));
    }
  }

  private static KeyedOneInputStreamOperatorTestHarness<String, NodeWindow, NodeWindow>
      deduplicator() throws Exception {
    return new KeyedOneInputStreamOperatorTestHarness<>(
        new WindowDeduplicator("dns.metrics", Duration.ofHours(2)), NodeWindow::node, Types.STRING);
  }

  private static KeyedOneInputStreamOperatorTestHarness<String, NodeWindow, FleetWindow> merger(
      int parallelism, int subtask) throws Exception {
    return new KeyedOneInputStreamOperatorTestHarness<>(
        new WindowMerger(Duration.ofMinutes(2)),
        window -> window.key().text(),
        Types.STRING,
        MAX_PARALLELISM,
        parallelism,
        subtask);
  }
}
