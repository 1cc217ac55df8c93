package dnscribe.stream.store;

import dnscribe.stream.config.InfluxDbConfig;
import dnscribe.stream.kafka.OutputRecord;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Set;

/**
 * Writes points to InfluxDB 2: records whose values are lines of its line protocol. A point with
 * the time and tags of an earlier one replaces its fields.
 */
public final class InfluxDbWriter extends StoreWriter {
  private static final Duration CONNECT = Duration.ofSeconds(5);
  private static final Duration ANSWER = Duration.ofSeconds(60);

  /** Statuses about the token, the bucket and the load: points are taken once that is mended. */
  private static final Set<Integer> SERVER_STATUSES = Set.of(401, 403, 404, 407, 408, 425, 429);

  private final InfluxDbConfig settings;
  private transient HttpClient client;
  private transient String target;
  private transient String token;

  /** Creates a writer. {@code measurement} is part of the sink's name in the ledger. */
  public InfluxDbWriter(InfluxDbConfig settings, String measurement, Settings batches) {
    super("influxdb." + measurement, batches);
    this.settings = settings;
  }

  @Override
  public void open() throws Exception {
    super.open();
    client = HttpClient.newBuilder().connectTimeout(CONNECT).build();
    String base = settings.url().replaceAll("/+$", "");
    target =
        "%s/api/v2/write?org=%s&bucket=%s&precision=ms"
            .formatted(base, encoded(settings.org()), encoded(settings.bucket()));
    token = settings.readToken();
  }

  @Override
  protected void write(List<OutputRecord> batch)
      throws RefusedException, IOException, InterruptedException {
    ByteArrayOutputStream body = new ByteArrayOutputStream(1024 * batch.size());
    for (OutputRecord point : batch) {
      body.writeBytes(point.value());
      body.write('\n');
    }
    HttpRequest.Builder request =
        HttpRequest.newBuilder(URI.create(target))
            .timeout(ANSWER)
            .header("Content-Type", "text/plain; charset=utf-8")
            .POST(HttpRequest.BodyPublishers.ofByteArray(body.toByteArray()));
    if (!token.isEmpty()) {
      request.header("Authorization", "Token " + token);
    }
    HttpResponse<String> response =
        client.send(request.build(), HttpResponse.BodyHandlers.ofString());
    int status = response.statusCode();
    String message = "InfluxDB at " + settings.url() + " (" + status + "): " + response.body();
    // 400: lines that cannot be parsed, or fields of another type. 422: points outside of the
    // bucket's retention, of which the others are written. 413: more bytes than the server takes.
    if (status == 400 || status == 422 || status == 413) {
      throw new RefusedException(message.strip());
    }
    if (status / 100 == 4 && !SERVER_STATUSES.contains(status)) {
      throw new UnclearException(message.strip(), null);
    }
    if (status / 100 != 2) {
      throw new IOException(message.strip());
    }
  }

  private static String encoded(String value) {
    return URLEncoder.encode(value, StandardCharsets.UTF_8);
  }
}
