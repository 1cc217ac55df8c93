package dnscribe.stream.store;

import dnscribe.stream.config.ConfigException;
import java.io.IOException;
import java.io.InputStream;
import java.net.http.HttpClient;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Clients of HTTP over TLS. */
final class Https {
  private Https() {}

  /**
   * Returns the builder of a client that trusts the authorities in a PEM file, or Java's own if
   * there is none.
   *
   * @throws ConfigException if the file has no certificates
   */
  static HttpClient.Builder trusting(String caFile) throws IOException {
    HttpClient.Builder builder = HttpClient.newBuilder();
    if (caFile == null) {
      return builder;
    }
    try (InputStream file = Files.newInputStream(Path.of(caFile))) {
      KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
      store.load(null, null);
      for (Certificate one : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
        store.setCertificateEntry("ca-" + store.size(), one);
      }
      if (store.size() == 0) {
        throw new ConfigException(caFile + ": no certificates in PEM");
      }
      TrustManagerFactory managers =
          TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
      managers.init(store);
      SSLContext context = SSLContext.getInstance("TLS");
      context.init(null, managers.getTrustManagers(), null);
      return builder.sslContext(context);
    } catch (GeneralSecurityException error) {
      throw new ConfigException(caFile + ": " + error.getMessage());
    }
  }
}
