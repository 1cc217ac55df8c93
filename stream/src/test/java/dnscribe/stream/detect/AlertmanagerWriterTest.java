package dnscribe.stream.detect;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpServer;
import dnscribe.stream.Records;
import dnscribe.stream.config.Alertmanager;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** A server that is away and comes back; the end-to-end test has a real Alertmanager. */
class AlertmanagerWriterTest {
  private static final long NOW = Instant.parse("2026-01-05T10:00:00Z").toEpochMilli();
  private static final ObjectMapper JSON = new ObjectMapper();

  private final List<JsonNode> posted = Collections.synchronizedList(new ArrayList<>());
  private final AtomicInteger status = new AtomicInteger(200);
  private HttpServer server;

  @BeforeEach
  void startServer() throws Exception {
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.createContext(
        "/api/v2/alerts",
        exchange -> {
          posted.add(JSON.readTree(exchange.getRequestBody()));
          byte[] body = Records.bytes("\"" + status.get() + "\"");
          exchange.sendResponseHeaders(status.get(), body.length);
          exchange.getResponseBody().write(body);
          exchange.close();
        });
    server.start();
  }

  @AfterEach
  void stopServer() {
    server.stop(0);
  }

  @Test
  void alertsWaitForAnAlertmanagerThatIsAwayAndSurviveARestart() throws Exception {
    status.set(503);
    OperatorSubtaskState state;
    try (var harness = harness()) {
      harness.open();
      harness.setProcessingTime(NOW);
      harness.processElement(new StreamRecord<>(alert("firing", "warning")));
      await(harness, NOW, 1);
      assertThat(counts(harness)).containsEntry("output/alertmanager/records", 0L);
      state = harness.snapshot(1, 1);
    }
    status.set(200);
    try (var harness = harness()) {
      harness.initializeState(state);
      harness.open();
      harness.setProcessingTime(NOW + 2_000);
      await(harness, NOW + 2_000, 2);
      assertThat(counts(harness))
          .containsEntry("output/alertmanager/records", 1L)
          .containsEntry("output/alertmanager/written", 1L);
      JsonNode alert = posted.get(1).get(0);
      assertThat(alert.at("/labels/alertname").asText()).isEqualTo("DnsZoneFailing");
      assertThat(alert.at("/labels/team").asText()).isEqualTo("dns");
      assertThat(alert.at("/labels/scope").asText()).isEqualTo("fleet");
      assertThat(alert.at("/annotations/description").asText())
          .isEqualTo("failed_ratio 0.833 (threshold 0.25)\nnodes: a, b");
      // It is worse: it ends under its old labels, and begins under the new.
      harness.processElement(new StreamRecord<>(alert("firing", "critical")));
      await(harness, NOW + 10_000, 3);
      assertThat(posted.get(2)).hasSize(2);
      harness.processElement(new StreamRecord<>(alert("resolved", "critical")));
      await(harness, NOW + 20_000, 4);
      assertThat(counts(harness)).containsEntry("output/alertmanager/written", 3L);
    }
  }

  @Test
  void refusedAndOldAlertsAreDropped() throws Exception {
    status.set(400);
    try (var harness = harness()) {
      harness.open();
      harness.setProcessingTime(NOW);
      harness.processElement(new StreamRecord<>(alert("firing", "warning")));
      await(harness, NOW, 1);
      harness.setProcessingTime(NOW + 2 * 3_600_000);
      harness.processElement(new StreamRecord<>(alert("firing", "warning")));
      assertThat(counts(harness))
          .containsEntry("output/alertmanager/records", 2L)
          .containsEntry("output/alertmanager/dropped/rejected", 1L)
          .containsEntry("output/alertmanager/dropped/old", 1L);
    }
  }

  /** Lets time pass until the server has had this many requests, and their answers are taken. */
  private void await(
      OneInputStreamOperatorTestHarness<OutputRecord, Void> harness, long from, int requests)
      throws Exception {
    long time = from;
    for (int i = 0; i < 500 && posted.size() < requests; i++) {
      harness.setProcessingTime(time += 500);
      Thread.sleep(10);
    }
    assertThat(posted).hasSize(requests);
    var answer = ((AlertmanagerWriter) harness.getOperator()).answer();
    if (answer != null) {
      answer.get(30, TimeUnit.SECONDS);
      harness.setProcessingTime(time + 500);
    }
  }

  private OneInputStreamOperatorTestHarness<OutputRecord, Void> harness() throws Exception {
    String url = "http://127.0.0.1:" + server.getAddress().getPort();
    var settings =
        new Alertmanager(List.of(url), null, null, null, null, null, Map.of("team", "dns"));
    return new OneInputStreamOperatorTestHarness<>(new AlertmanagerWriter(settings));
  }

  private static Map<String, Long> counts(OneInputStreamOperatorTestHarness<?, ?> harness)
      throws Exception {
    harness.prepareSnapshotPreBarrier(1);
    Map<String, Long> newest = Map.of();
    for (var one : harness.getSideOutput(CountingOperator.COUNTS)) {
      newest = one.getValue().values();
    }
    return newest;
  }

  private static OutputRecord alert(String state, String severity) {
    String json =
        """
        {"schema":"dns.alert/1","ts":"2026-01-05T10:00:00Z","node":"fleet","scope":"fleet",\
        "alert_id":"a1","rule":"zone_failing","entity":"zone=example.com","zone":"example.com",\
        "state":"%s","severity":"%s","started":"2026-01-05T09:59:00Z","summary":"It fails.",\
        "figures":[{"name":"failed_ratio","value":0.8333,"threshold":0.25}],"nodes":["a","b"],\
        "suppressed":0,"runbook":"docs/runbooks/zone-failing.md"}\
        """
            .formatted(state, severity);
    return new OutputRecord("dns.alert/1", new byte[0], 0, 1, new byte[0], Records.bytes(json));
  }
}
