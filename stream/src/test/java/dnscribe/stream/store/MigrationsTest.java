package dnscribe.stream.store;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.net.httpserver.HttpServer;
import dnscribe.stream.Records;
import dnscribe.stream.config.Config;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class MigrationsTest {
  @TempDir private Path folder;

  @Test
  void knowsWhatScriptsCreate() throws IOException {
    String script = Files.readString(Path.of("..", "stores", "clickhouse", "006_traffic.sql"));
    assertThat(Migrations.created(script))
        .containsExactly(
            "dns_traffic_1m", "dns_traffic_1m_view", "dns_nodes_1h", "dns_nodes_1h_view");
    script = Files.readString(Path.of("..", "stores", "timescaledb", "004_incidents.sql"));
    assertThat(Migrations.created(script)).containsExactly("dns_incidents", "dns_rule_quality");
  }

  /** Who needs no sizes may drop their view. */
  @Test
  void whatWasDroppedIsNotAltered() throws Exception {
    List<String> queries = new ArrayList<>();
    HttpServer server =
        HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.createContext(
        "/",
        exchange -> {
          String query = Records.text(exchange.getRequestBody().readAllBytes());
          queries.add(query);
          byte[] answer = Records.bytes(query.endsWith(" dns_traffic_1m_view") ? "0" : "1");
          exchange.sendResponseHeaders(200, answer.length);
          exchange.getResponseBody().write(answer);
          exchange.close();
        });
    server.start();
    Path file = folder.resolve("stream.yaml");
    Files.writeString(
        file,
        "version: 1\nstore: { stores: [clickhouse] }\nclickhouse: { url: 'http://127.0.0.1:%d' }"
            .formatted(server.getAddress().getPort()));
    Migrations.apply(Config.load(file));
    server.stop(0);
    assertThat(queries)
        .anyMatch(query -> query.startsWith("ALTER TABLE dns_resolvers_1m_view"))
        .noneMatch(query -> query.startsWith("ALTER TABLE dns_traffic_1m_view"));
  }

  /** The message is all that a person sees. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "clickhouse: { url: 'http://localhost:1' }|clickhouse.url: http://localhost:1: ",
        "clickhouse: { url: 'ftp://localhost' }|clickhouse.url: ftp://localhost: ",
        "clickhouse: { url: 'a b' }|clickhouse.url: a b: ",
        "clickhouse: { password_file: /none }|clickhouse: no file /none",
        "timescaledb: { url: 'jdbc:postgresql://localhost:1/dns' }|timescaledb.url: jdbc:postgresql:",
      })
  void failuresNameTheirKey(String line, String message) throws IOException {
    String store = line.substring(0, line.indexOf(':'));
    Path file = folder.resolve("stream.yaml");
    Files.writeString(file, "version: 1\nstore: { stores: [" + store + "] }\n" + line);
    Config config = Config.load(file);
    assertThatThrownBy(() -> Migrations.apply(config))
        .isInstanceOf(IOException.class)
        .hasMessageStartingWith(message)
        .hasMessageNotContaining("null");
  }
}
