package dnscribe.stream.detect;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.Savepoints;
import dnscribe.stream.config.Detect;
import dnscribe.stream.config.RuleSettings;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.RecordChecker;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.functions.util.ListCollector;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.AbstractStreamOperatorTestHarness;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;

/**
 * Fleet detection from cells to alerts: the detectors' operator, in any number of subtasks, and the
 * engine's. Each alert is checked against its schema.
 */
final class Detection implements AutoCloseable {
  /** A Monday, 00:00 UTC. */
  static final long BASE = Instant.parse("2026-01-05T00:00:00Z").toEpochMilli();

  static final long MINUTE = 60_000;
  static final long HOUR = 60 * MINUTE;
  static final long DAY = 24 * HOUR;

  /** Present time of the detectors: no cell of a test is after it unless it is meant to be. */
  static final long NOW = BASE + 366 * DAY;

  private static final int MAX_PARALLELISM = 128;
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final RecordChecker SCHEMA = new RecordChecker("dns.alert/1");

  /** State of both operators. */
  record Savepoint(List<OperatorSubtaskState> detectors, OperatorSubtaskState engine) {
    /** Returns the state that a former version wrote at the same time. */
    Savepoint kept() throws Exception {
      OperatorSubtaskState detector = Savepoints.kept("detect", detectors.get(0));
      return new Savepoint(List.of(detector), Savepoints.kept("alerts", engine));
    }
  }

  private final Detect settings;
  private final EnrichedCells cells;
  private final EnrichedRecord record = new EnrichedRecord();
  private final List<KeyedOneInputStreamOperatorTestHarness<Integer, Cell, Finding>> detectors =
      new ArrayList<>();
  private final OneInputStreamOperatorTestHarness<Signal, OutputRecord> engine;
  final List<JsonNode> alerts = new ArrayList<>();
  private int sequence;

  Detection(Detect settings) throws Exception {
    this(settings, 1, null);
  }

  Detection(Detect settings, int parallelism, Savepoint restored) throws Exception {
    this.settings = settings;
    this.cells = new EnrichedCells(settings);
    OperatorSubtaskState all =
        restored == null
            ? null
            : AbstractStreamOperatorTestHarness.repackageState(
                restored.detectors.toArray(new OperatorSubtaskState[0]));
    for (int subtask = 0; subtask < parallelism; subtask++) {
      var harness =
          new KeyedOneInputStreamOperatorTestHarness<Integer, Cell, Finding>(
              new DetectOperator("detect", settings),
              Cell::bucket,
              Types.INT,
              MAX_PARALLELISM,
              parallelism,
              subtask);
      if (restored != null) {
        harness.initializeState(
            AbstractStreamOperatorTestHarness.repartitionOperatorState(
                all, MAX_PARALLELISM, restored.detectors.size(), parallelism, subtask));
      }
      harness.open();
      harness.setProcessingTime(NOW);
      detectors.add(harness);
    }
    engine =
        new OneInputStreamOperatorTestHarness<>(
            new AlertOperator("alerts", settings, "dns.alerts"));
    if (restored != null) {
      engine.initializeState(restored.engine);
    }
    engine.open();
  }

  static Detect defaults() {
    return new Detect(null, null, null, null, null, null);
  }

  /** Returns settings whose baselines of rates are known after half an hour. */
  static Detect quick() {
    var rate = new RuleSettings(null, null, null, null, null, null, null, Duration.ofMinutes(30));
    return new Detect(null, null, null, null, null, Map.of("zone_query_rate", rate));
  }

  Savepoint savepoint() throws Exception {
    List<OperatorSubtaskState> states = new ArrayList<>();
    for (var detector : detectors) {
      states.add(detector.snapshot(1, 1));
    }
    return new Savepoint(states, engine.snapshot(1, 1));
  }

  void cell(Cell cell) throws Exception {
    int group =
        org.apache.flink.runtime.state.KeyGroupRangeAssignment.assignKeyToParallelOperator(
            cell.bucket(), MAX_PARALLELISM, detectors.size());
    detectors.get(group).processElement(new StreamRecord<>(cell));
  }

  static Cell resolver(
      long start, String node, String site, long queries, long failed, double medianMs) {
    String entity = ResolverDetector.entity("192.0.2.53", "client");
    long[] values = {queries, failed, queries, 0, queries - failed, Math.round(medianMs * 1000)};
    return new Cell(Detectors.RESOLVER, start, entity, NodeStats.name(site, node, "udp"), values);
  }

  static Cell zone(
      long start, String zone, String node, String site, long queries, long failed, long nxdomain) {
    long[] values = {queries, failed, queries, nxdomain, queries - failed, 0};
    return new Cell(
        Detectors.ZONE,
        start,
        ZoneDetector.entity(zone, "client"),
        NodeStats.name(site, node, null),
        values);
  }

  /** Adds a dns.enriched/1 with these fields in place of the usual ones. */
  void enriched(long time, ObjectNode fields) throws Exception {
    ObjectNode json = JSON.createObjectNode();
    json.put("schema", "dns.enriched/1").put("ts", Instant.ofEpochMilli(time).toString());
    json.put("node", "n1").put("vantage", "client").put("resolver", "192.0.2.53");
    json.put("qname", "www.example.com").put("qtype", "A").put("zone", "example.com");
    json.put("status", "answered").put("rcode", "NOERROR");
    json.setAll(fields);
    record.read(JSON.writeValueAsBytes(json));
    List<Cell> made = new ArrayList<>();
    cells.of(record, made::add);
    for (Cell cell : made) {
      cell(cell);
    }
  }

  static ObjectNode fields() {
    return JSON.createObjectNode();
  }

  /** Fields of an answer with this address. */
  static ObjectNode answer(String site, String address, long ttl) {
    ObjectNode fields = fields().put("region", site);
    ArrayNode answers = fields.putArray("answers");
    answers.addObject().put("name", "www").put("type", "A").put("ttl", ttl).put("data", address);
    return fields;
  }

  void change(long time, ObjectNode fields) throws Exception {
    ObjectNode json = JSON.createObjectNode();
    json.put("schema", "dns.change/1").put("event_id", "%032x".formatted(++sequence));
    json.put("ts", Instant.ofEpochMilli(time).toString()).put("kind", "deploy");
    json.put("summary", "new configuration");
    json.setAll(fields);
    Change change = Change.of(json);
    engine.processElement(new StreamRecord<>(Signal.of(change)));
  }

  void nodeAlert(long time, ObjectNode fields) throws Exception {
    ObjectNode json = JSON.createObjectNode();
    json.put("alert_id", "%032x".formatted(++sequence));
    json.put("ts", Instant.ofEpochMilli(time).toString()).put("rule", "resolver_down");
    json.setAll(fields);
    NodeAlert alert = NodeAlert.of(json);
    engine.processElement(new StreamRecord<>(Signal.of(alert)));
  }

  /** Adds a probe's alert about the service shop with these fields in place of the usual ones. */
  void probeAlert(long time, ObjectNode fields) throws Exception {
    ObjectNode json = JSON.createObjectNode();
    json.put("schema", "dns.alert/1").put("scope", "probe").put("alert_id", "%032x".formatted(1));
    json.put("ts", Instant.ofEpochMilli(time).toString()).put("rule", "verdict_dns");
    json.put("started", Instant.ofEpochMilli(time - MINUTE).toString()).put("state", "firing");
    json.put("entity", "service=shop").put("service", "shop").put("zone", "example.com");
    json.put("summary", "shop.example.com: SERVFAIL from all resolvers");
    json.setAll(fields);
    Signal signal = Signal.of(ProbeAlert.of(json));
    engine.processElement(new StreamRecord<>(signal));
    List<Cell> made = new ArrayList<>();
    new ProbeCells().flatMap(signal, new ListCollector<>(made));
    for (Cell cell : made) {
      cell(cell);
    }
  }

  /** Adds a dns.probe/1 of the service shop with these fields in place of the usual ones. */
  void probe(long time, String site, ObjectNode fields) throws Exception {
    ObjectNode json = JSON.createObjectNode();
    json.put("schema", "dns.probe/1").put("ts", Instant.ofEpochMilli(time).toString());
    json.put("node", site).put("site", site).put("service", "shop").put("ok", true);
    json.put("kind", "tcp").put("target", "192.0.2.10:443");
    json.setAll(fields);
    List<Cell> made = new ArrayList<>();
    SiteCells.of(json, time, made::add);
    for (Cell cell : made) {
      cell(cell);
    }
  }

  /** Moves the watermark to where the spans that end at {@code time} are judged. */
  void advance(long time) throws Exception {
    long watermark = time + settings.closeAfter().toMillis();
    for (var detector : detectors) {
      detector.processWatermark(watermark);
      for (Finding finding : detector.extractOutputValues()) {
        engine.processElement(new StreamRecord<>(Signal.of(finding)));
      }
      detector.getOutput().clear();
    }
    engine.processWatermark(watermark);
    for (OutputRecord output : engine.extractOutputValues()) {
      SCHEMA.check(output.value());
      alerts.add(JSON.readTree(output.value()));
    }
    engine.getOutput().clear();
  }

  /** Returns the alerts as {@code rule entity severity state}, without repetitions. */
  List<String> texts() {
    return alerts.stream()
        .map(
            alert ->
                String.join(
                    " ",
                    alert.path("rule").asText(),
                    alert.path("entity").asText(),
                    alert.path("severity").asText(),
                    alert.path("state").asText()))
        .distinct()
        .toList();
  }

  /** Returns the first record of each alert. */
  List<JsonNode> firsts() {
    Map<String, JsonNode> firsts = new LinkedHashMap<>();
    alerts.forEach(alert -> firsts.putIfAbsent(alert.path("alert_id").asText(), alert));
    return List.copyOf(firsts.values());
  }

  /** Returns a counter of the detectors' operators, added up. */
  long counter(String name) throws Exception {
    long sum = 0;
    for (var detector : detectors) {
      detector.prepareSnapshotPreBarrier(1);
      var counts = detector.getSideOutput(dnscribe.stream.ledger.CountingOperator.COUNTS);
      long newest = 0;
      for (var one : counts) {
        newest = one.getValue().values().getOrDefault(name, 0L);
      }
      sum += newest;
    }
    return sum;
  }

  @Override
  public void close() throws Exception {
    for (var detector : detectors) {
      detector.close();
    }
    engine.close();
  }
}
