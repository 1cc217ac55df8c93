package dnscribe.stream.store;

import static dnscribe.stream.Records.bytes;
import static dnscribe.stream.Records.text;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import dnscribe.stream.config.Config;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class ClickHouseWriterTest {
  private static final String OLD = "{\"ts\":\"1970-01-01T00:00:00Z\"}";
  private final List<String> inserted = new ArrayList<>();
  private final Deque<String> migrations = new ArrayDeque<>();
  private final Deque<Integer> statuses = new ArrayDeque<>();
  private final List<JsonNode> letters = new ArrayList<>();
  private HttpServer server;

  @BeforeEach
  void start() throws IOException {
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.createContext("/", this::answer);
    server.start();
  }

  @AfterEach
  void stop() {
    server.stop(0);
  }

  @Test
  void writesWhatIsLeftBeforeACheckpoint() throws Exception {
    Map<String, Long> counts = write("a", "b", "c");
    assertThat(inserted).containsExactly("a\nb\n", "c\n");
    assertThat(counts)
        .containsEntry("output/clickhouse/records", 3L)
        .containsEntry("output/clickhouse/written", 3L);
  }

  @Test
  void triesAgainWhileTheServerIsAway() throws Exception {
    statuses.addAll(List.of(503, 503));
    assertThat(write("a")).containsEntry("output/clickhouse/written", 1L);
    assertThat(inserted).containsExactly("a\n");
  }

  @Test
  void leavesOutOnlyTheRowThatIsRefused() throws Exception {
    assertThat(write("a", "bad"))
        .containsEntry("output/clickhouse/records", 2L)
        .containsEntry("output/clickhouse/written", 1L)
        .containsEntry("output/clickhouse/dropped/refused", 1L)
        .containsEntry("output/dns.dlq/written", 1L);
    assertThat(letters)
        .extracting(letter -> letter.path("stage").asText() + " " + letter.path("bytes").asText())
        .containsExactly("store YmFk");
    assertThat(letters.get(0).path("reason").asText()).isEqualTo("refused");
    assertThat(inserted).containsExactly("a\n");
  }

  /** New fields would be left out of rows that are written before the tables have them. */
  @Test
  void rowsWaitForTheMigrations() throws Exception {
    String some = "001_transactions\n";
    String all =
        """
        001_transactions
        002_enriched
        003_omitted
        004_durability
        005_alerts
        006_traffic
        007_uses
        008_zones
        009_exchanges
        010_lookups
        011_connections
        012_connection_ends
        013_use_times
        """;
    migrations.addAll(List.of(some, all, all + "014_bins\n"));
    assertThat(write("a")).containsEntry("output/clickhouse/written", 1L);
    assertThat(migrations).isEmpty();
    assertThat(inserted).containsExactly("a\n");
  }

  @Test
  void rowsThatTheTableWouldNotKeepAreLeftOut() throws Exception {
    Instant now = Instant.now();
    Function<Duration, String> row = age -> "{\"ts\":\"" + now.minus(age) + "\"}";
    String[] rows = {row.apply(Duration.ofDays(7)), row.apply(Duration.ofDays(9)), OLD};
    assertThat(writeTo(ClickHouse.TRANSACTIONS, rows))
        .containsEntry("output/clickhouse/records", 3L)
        .containsEntry("output/clickhouse/written", 1L)
        .containsEntry("output/clickhouse/dropped/expired", 2L);
    assertThat(inserted).containsExactly(rows[0] + "\n");
    // Alerts are kept for ever.
    assertThat(writeTo("dns_alerts", OLD)).containsEntry("output/clickhouse/written", 1L);
  }

  @Test
  void aBatchEndsAtItsBytes() throws Exception {
    write("twelve bytes", "b");
    assertThat(inserted).containsExactly("twelve bytes\n", "b\n");
  }

  @Test
  void aRefusalForAnUnknownReasonIsOneAfterSomeAttempts() throws Exception {
    assertThat(write("a", "poison"))
        .containsEntry("output/clickhouse/written", 1L)
        .containsEntry("output/clickhouse/dropped/refused", 1L);
    assertThat(letters).hasSize(1);
    assertThat(letters.get(0).path("detail").asText()).contains("clickhouse: ClickHouse at");
    // By itself as well, which shows that the server takes rows.
    assertThat(inserted).containsOnly("a\n");
  }

  @Test
  void aFaultOfTheServerIsNoRefusal() throws Exception {
    // No exception of ClickHouse but one of a proxy, TOO_MANY_PARTS, CANNOT_FSYNC,
    // CANNOT_CREATE_DIRECTORY, CANNOT_STATVFS, TABLE_IS_DROPPED, IP_ADDRESS_NOT_ALLOWED,
    // RECEIVED_ERROR_TOO_MANY_REQUESTS, CANNOT_STAT.
    for (int code : new int[] {0, 252, 204, 172, 214, 218, 195, 364, 400}) {
      assertThat(new ClickHouse.RefusedException(code, "").isUnclear()).as("%d", code).isFalse();
      assertThat(new ClickHouse.RefusedException(code, "").isOfData()).as("%d", code).isFalse();
    }
    assertThat(new ClickHouse.RefusedException(349, "").isUnclear()).isTrue();
  }

  @Test
  void statementsOfAScript() {
    assertThat(Migrations.statements("-- a; b\nSELECT ';';\n\n-- c\nSELECT 2;\n"))
        .containsExactly("SELECT ';'", "SELECT 2");
  }

  private Map<String, Long> write(String... rows) throws Exception {
    return writeTo("t", rows);
  }

  private Map<String, Long> writeTo(String table, String... rows) throws Exception {
    Config.ClickHouse settings =
        new Config.ClickHouse(
            "http://127.0.0.1:" + server.getAddress().getPort(),
            null,
            null,
            null,
            2,
            12,
            Duration.ofHours(1),
            null,
            null,
            null);
    try (var harness =
        new OneInputStreamOperatorTestHarness<>(
            new ClickHouseWriter(
                settings,
                "clickhouse",
                table,
                new StoreWriter.Settings(2, 12, Duration.ofHours(1), "dns.dlq", true)))) {
      harness.open();
      harness.setProcessingTime(Instant.now().toEpochMilli());
      for (String row : rows) {
        harness.processElement(new StreamRecord<>(record(row)));
      }
      harness.prepareSnapshotPreBarrier(1);
      for (OutputRecord letter : harness.extractOutputValues()) {
        letters.add(new ObjectMapper().readTree(letter.value()));
      }
      return harness.getSideOutput(CountingOperator.COUNTS).peek().getValue().values();
    }
  }

  private static OutputRecord record(String row) {
    return new OutputRecord("dns.enriched/1", new byte[0], 0, 1, null, bytes(row));
  }

  private void answer(HttpExchange exchange) throws IOException {
    String body = text(exchange.getRequestBody().readAllBytes());
    if (body.startsWith("EXISTS TABLE") || body.startsWith("SELECT name")) {
      byte[] found =
          bytes(body.startsWith("EXISTS") ? migrations.isEmpty() ? "0" : "1" : migrations.poll());
      exchange.sendResponseHeaders(200, found.length);
      exchange.getResponseBody().write(found);
      exchange.close();
      return;
    }
    Integer status = statuses.poll();
    if (body.contains("poison")) {
      exchange.getResponseHeaders().add("X-ClickHouse-Exception-Code", "349");
      status = 500;
    } else if (status == null && body.contains("bad")) {
      exchange.getResponseHeaders().add("X-ClickHouse-Exception-Code", "27");
      status = 400;
    } else if (status == null) {
      inserted.add(body);
      status = 200;
    }
    exchange.sendResponseHeaders(status, -1);
    exchange.close();
  }
}
