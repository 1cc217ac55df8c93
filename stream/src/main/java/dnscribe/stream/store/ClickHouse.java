package dnscribe.stream.store;

import dnscribe.stream.config.Config;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Set;

/** ClickHouse by its HTTP interface. */
public final class ClickHouse {
  /** Table of {@code dns.enriched/1}. */
  public static final String TRANSACTIONS = "dns_transactions";

  private static final Duration CONNECT = Duration.ofSeconds(5);
  private static final Duration ANSWER = Duration.ofSeconds(60);

  /**
   * Codes of exceptions that mean that the data is wrong, not the server: types that do not fit and
   * text that cannot be parsed.
   */
  private static final Set<Integer> DATA_CODES =
      Set.of(6, 26, 27, 33, 38, 41, 53, 69, 72, 117, 349, 407, 467);

  /**
   * Codes of exceptions that are about the server, its load, its disks, its tables or the user's
   * rights: the rows are taken once that is mended.
   */
  private static final Set<Integer> SERVER_CODES =
      Set.of(
          // Files, memory, time, connections.
          40,
          49,
          73,
          74,
          75,
          76,
          77,
          95,
          107,
          159,
          160,
          164,
          172,
          173,
          195,
          198,
          203,
          204,
          209,
          210,
          214,
          236,
          241,
          243,
          245,
          246,
          279,
          400,
          // Load: queries, parts, quotas.
          201,
          202,
          252,
          285,
          286,
          307,
          319,
          364,
          394,
          425,
          439,
          473,
          499,
          700,
          722,
          // Replicas and Keeper.
          225,
          242,
          244,
          254,
          289,
          999,
          // Databases, tables, columns, users, settings.
          10,
          16,
          47,
          60,
          81,
          115,
          192,
          193,
          194,
          218,
          291,
          452,
          497,
          516,
          1000,
          1001,
          1002);

  private final String url;
  private final String database;
  private final String user;
  private final String password;
  private final HttpClient client;

  /** Creates a client; it connects with the first query. */
  public ClickHouse(Config.ClickHouse config) throws IOException {
    url = config.url().endsWith("/") ? config.url() : config.url() + "/";
    database = config.database();
    user = config.user();
    password = config.password();
    client = Https.trusting(config.caFile()).connectTimeout(CONNECT).build();
  }

  /** A query that the server refused. */
  public static final class RefusedException extends IOException {
    private static final long serialVersionUID = 1;
    private final int code;

    RefusedException(int code, String message) {
      super(message);
      this.code = code;
    }

    /** Whether the data of the query is wrong, so that another attempt is refused too. */
    public boolean isOfData() {
      return DATA_CODES.contains(code);
    }

    /** Whether the data may be wrong: the server does not say that it is its own fault. */
    public boolean isUnclear() {
      return code != 0 && !SERVER_CODES.contains(code);
    }
  }

  /** Creates the configured database if it is missing. */
  public void createDatabase() throws IOException, InterruptedException {
    send(url, ("CREATE DATABASE IF NOT EXISTS " + database).getBytes(StandardCharsets.UTF_8));
  }

  /** Runs a query in the configured database and returns its result. */
  public String query(String sql) throws IOException, InterruptedException {
    return send(url + "?database=" + encoded(database), sql.getBytes(StandardCharsets.UTF_8));
  }

  /** Runs a query of the configured database with data after it. */
  public void insert(String sql, byte[] data) throws IOException, InterruptedException {
    send(url + "?database=" + encoded(database) + "&query=" + encoded(sql), data);
  }

  private static String encoded(String value) {
    return URLEncoder.encode(value, StandardCharsets.UTF_8);
  }

  private String send(String target, byte[] body) throws IOException, InterruptedException {
    HttpRequest.Builder request =
        HttpRequest.newBuilder(URI.create(target))
            .timeout(ANSWER)
            .header("X-ClickHouse-User", user)
            .POST(HttpRequest.BodyPublishers.ofByteArray(body));
    if (!password.isEmpty()) {
      request.header("X-ClickHouse-Key", password);
    }
    HttpResponse<String> response =
        client.send(request.build(), HttpResponse.BodyHandlers.ofString());
    if (response.statusCode() != 200) {
      int code =
          response
              .headers()
              .firstValue("X-ClickHouse-Exception-Code")
              .map(Integer::parseInt)
              .orElse(0);
      throw new RefusedException(code, "ClickHouse at " + url + ": " + response.body().strip());
    }
    return response.body();
  }
}
