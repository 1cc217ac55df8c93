package dnscribe.stream.config;

import java.io.IOException;
import java.io.Serializable;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * PostgreSQL with TimescaleDB.
 *
 * @param url for JDBC
 * @param user with the right to insert, or to create tables for {@code migrate}
 * @param passwordFile a file with its password
 * @param batchRows rows of one insert at most
 * @param batchWait how long a row waits for others at most
 * @param retention how long rows are kept: merged windows by their step, other tables by name
 */
public record TimescaleDbConfig(
    String url,
    String user,
    String passwordFile,
    Integer batchRows,
    Duration batchWait,
    Map<String, Duration> retention)
    implements Serializable {
  /** Seconds of the steps of merged windows by their names in {@code retention}. */
  public static final Map<String, Integer> STEPS = Map.of("10s", 10, "1m", 60, "5m", 300);

  private static final Map<String, Duration> RETENTION =
      Map.of("10s", Duration.ofDays(2), "1m", Duration.ofDays(90), "5m", Duration.ofDays(400));

  private static final List<String> TABLES =
      List.of(
          "dns_fleet_1h",
          "dns_fleet_1d",
          "dns_alerts",
          "dns_probes",
          "dns_changes",
          "stream_ledger");

  /** After the constants that its constructor needs. */
  static final TimescaleDbConfig DEFAULT =
      new TimescaleDbConfig(null, null, null, null, null, null);

  /** Fills in defaults and refuses other databases. */
  public TimescaleDbConfig {
    batchRows = batchRows == null ? 1_000 : batchRows;
    batchWait = batchWait == null ? Duration.ofSeconds(1) : batchWait;
    if (batchRows < 1) {
      throw new ConfigException("timescaledb.batch_rows: at least 1");
    }
    Map<String, Duration> kept = new TreeMap<>(RETENTION);
    kept.putAll(retention == null ? Map.of() : retention);
    for (String key : kept.keySet()) {
      if (!STEPS.containsKey(key) && !TABLES.contains(key)) {
        throw new ConfigException(
            "timescaledb.retention: no " + key + "; there are 10s, 1m, 5m and " + TABLES);
      }
    }
    retention = kept;
    url = url == null ? "jdbc:postgresql://localhost:5432/dns" : url;
    user = user == null ? "dns" : user;
    if (!url.startsWith("jdbc:postgresql://")) {
      throw new ConfigException(
          "timescaledb.url: not a URL such as jdbc:postgresql://localhost:5432/dns");
    }
  }

  /** Reads the password; empty without a file. */
  public String password() throws IOException {
    return Config.readPassword(passwordFile);
  }
}
