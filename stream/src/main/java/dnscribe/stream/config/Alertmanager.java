package dnscribe.stream.config;

import java.io.IOException;
import java.io.Serializable;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;

/**
 * Where alerts of fleet detection are sent besides the topic; nowhere without {@code urls}.
 *
 * @param urls of each Alertmanager; each gets every alert
 * @param username for basic authentication
 * @param passwordFile a file with its password
 * @param bearerTokenFile a file with a bearer token
 * @param timeout of a request
 * @param resend how often a firing alert is sent again
 * @param labels added to every alert
 */
public record Alertmanager(
    List<String> urls,
    String username,
    String passwordFile,
    String bearerTokenFile,
    Duration timeout,
    Duration resend,
    Map<String, String> labels)
    implements Serializable {
  static final Alertmanager DEFAULT = new Alertmanager(null, null, null, null, null, null, null);

  /** Fills in defaults and refuses what cannot work. */
  public Alertmanager {
    urls = urls == null ? List.of() : List.copyOf(urls);
    timeout = timeout == null ? Duration.ofSeconds(10) : timeout;
    resend = resend == null ? Duration.ofMinutes(1) : resend;
    labels = labels == null ? Map.of() : Map.copyOf(labels);
    for (String url : urls) {
      if (!url.startsWith("http://") && !url.startsWith("https://")) {
        throw new ConfigException("alertmanager.urls: " + url + ": not a URL");
      }
    }
    if (bearerTokenFile != null && username != null) {
      throw new ConfigException("alertmanager: either username or bearer_token_file");
    }
  }

  /** Returns the header {@code Authorization}, or null without credentials. */
  public String authorization() throws IOException {
    if (bearerTokenFile != null) {
      return "Bearer " + Files.readString(Path.of(bearerTokenFile)).strip();
    }
    if (username == null) {
      return null;
    }
    String password = passwordFile == null ? "" : Files.readString(Path.of(passwordFile)).strip();
    byte[] both = (username + ":" + password).getBytes(java.nio.charset.StandardCharsets.UTF_8);
    return "Basic " + java.util.Base64.getEncoder().encodeToString(both);
  }
}
