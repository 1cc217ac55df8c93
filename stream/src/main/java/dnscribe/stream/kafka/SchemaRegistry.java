package dnscribe.stream.kafka;

import com.fasterxml.jackson.databind.ObjectMapper;
import dnscribe.stream.config.Config;
import dnscribe.stream.config.ConfigException;
import dnscribe.stream.record.AvroReader;
import dnscribe.stream.record.MalformedException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.Base64;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.Schema;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A schema registry with Confluent's interface. */
public final class SchemaRegistry implements AvroReader.SchemaSource {
  private static final Logger LOG = LoggerFactory.getLogger(SchemaRegistry.class);
  private static final Duration TIMEOUT = Duration.ofSeconds(10);
  private static final Duration RETRY = Duration.ofSeconds(1);
  private static final ObjectMapper JSON = new ObjectMapper();

  private final Config.Registry settings;
  private HttpClient client;

  /** Creates a client; it connects with the first request. */
  public SchemaRegistry(Config.Registry settings) {
    this.settings = settings;
  }

  @Override
  public Schema schema(int id) throws MalformedException, InterruptedException {
    if (settings.url() == null) {
      throw new MalformedException("avro", "a record in Avro, and no kafka.registry.url");
    }
    try {
      while (true) {
        try {
          return fetch(id);
        } catch (IOException error) {
          LOG.warn("schema registry: no answer from {}: {}", settings.url(), error.toString());
          Thread.sleep(RETRY.toMillis());
        }
      }
    } catch (GeneralSecurityException error) {
      throw new ConfigException("kafka.registry.ca_file: " + error.getMessage());
    }
  }

  private Schema fetch(int id)
      throws IOException, InterruptedException, MalformedException, GeneralSecurityException {
    String base = settings.url().replaceAll("/+$", "");
    HttpRequest.Builder request =
        HttpRequest.newBuilder(URI.create(base + "/schemas/ids/" + id)).timeout(TIMEOUT);
    if (settings.username() != null) {
      String login = settings.username() + ":" + settings.password();
      byte[] bytes = login.getBytes(StandardCharsets.UTF_8);
      request.header("Authorization", "Basic " + Base64.getEncoder().encodeToString(bytes));
    }
    HttpResponse<String> answer =
        client().send(request.build(), HttpResponse.BodyHandlers.ofString());
    if (answer.statusCode() == 404) {
      throw new MalformedException("avro", "the registry has no schema " + id);
    }
    if (answer.statusCode() != 200) {
      throw new IOException(answer.statusCode() + " " + answer.body());
    }
    try {
      return new Schema.Parser().parse(JSON.readTree(answer.body()).path("schema").asText());
    } catch (AvroRuntimeException error) {
      throw new MalformedException("avro", "schema " + id + ": " + error.getMessage());
    }
  }

  private HttpClient client() throws IOException, GeneralSecurityException {
    if (client == null) {
      HttpClient.Builder builder = HttpClient.newBuilder().connectTimeout(TIMEOUT);
      if (settings.caFile() != null) {
        builder.sslContext(trusting(Path.of(settings.caFile())));
      }
      client = builder.build();
    }
    return client;
  }

  private static SSLContext trusting(Path certificates)
      throws IOException, GeneralSecurityException {
    KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
    store.load(null, null);
    try (InputStream file = Files.newInputStream(certificates)) {
      for (Certificate one : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
        store.setCertificateEntry("ca-" + store.size(), one);
      }
    }
    TrustManagerFactory managers =
        TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    managers.init(store);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(null, managers.getTrustManagers(), null);
    return context;
  }
}
