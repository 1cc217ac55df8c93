package dnscribe.stream.config;

import java.io.IOException;
import java.io.Serializable;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;

/**
 * InfluxDB 2.
 *
 * @param url of its HTTP interface
 * @param org organisation
 * @param bucket bucket
 * @param token with the right to write to the bucket
 * @param tokenFile a file with the token
 * @param batchRows points of one request at most
 * @param batchWait how long a point waits for others at most
 * @param maxZones zones, and resolvers, with series of their own: the heaviest ones
 */
public record InfluxDbConfig(
    String url,
    String org,
    String bucket,
    String token,
    String tokenFile,
    Integer batchRows,
    Duration batchWait,
    Integer maxZones)
    implements Serializable {
  static final InfluxDbConfig DEFAULT =
      new InfluxDbConfig(null, null, null, null, null, null, null, null);

  /** Fills in defaults and refuses what cannot work. */
  public InfluxDbConfig {
    url = url == null ? "http://localhost:8086" : url;
    org = org == null ? "dnscribe" : org;
    bucket = bucket == null ? "dns" : bucket;
    batchRows = batchRows == null ? 5_000 : batchRows;
    batchWait = batchWait == null ? Duration.ofSeconds(1) : batchWait;
    maxZones = maxZones == null ? 1_000 : maxZones;
    if (batchRows < 1) {
      throw new ConfigException("influxdb.batch_rows: at least 1");
    }
    if (maxZones < 0 || maxZones > 100_000) {
      throw new ConfigException("influxdb.max_zones: from 0 to 100000");
    }
    if (token != null && tokenFile != null) {
      throw new ConfigException("influxdb: token or token_file, not both");
    }
  }

  /** Reads the token; empty without one. */
  public String readToken() throws IOException {
    if (tokenFile != null) {
      return Files.readString(Path.of(tokenFile)).strip();
    }
    return token == null ? "" : token;
  }

  /** Leaves the token out: configurations are logged. */
  @Override
  public String toString() {
    return "InfluxDbConfig[url=" + url + ", org=" + org + ", bucket=" + bucket + "]";
  }
}
