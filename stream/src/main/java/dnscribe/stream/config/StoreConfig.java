package dnscribe.stream.config;

import java.io.Serializable;
import java.time.Duration;
import java.util.List;

/**
 * The job that writes a store.
 *
 * @param group beginning of the consumer groups; a store's name follows
 * @param deduplicate how long an {@code event_id} of alerts, lookups, connections, uses, probes and
 *     changes is remembered
 * @param stores that there are: {@code clickhouse}, {@code timescaledb}, {@code influxdb}, {@code
 *     archive}
 */
public record StoreConfig(String group, Duration deduplicate, List<String> stores)
    implements Serializable {
  /** Names of stores. */
  public static final String CLICKHOUSE = "clickhouse";

  public static final String TIMESCALEDB = "timescaledb";
  public static final String INFLUXDB = "influxdb";
  public static final String ARCHIVE = "archive";

  private static final List<String> ALL = List.of(CLICKHOUSE, TIMESCALEDB, INFLUXDB, ARCHIVE);

  /** After the constants that its constructor needs. */
  static final StoreConfig DEFAULT = new StoreConfig(null, null, null);

  /** Fills in defaults and refuses unknown stores. */
  public StoreConfig {
    group = group == null ? "dnscribe-store" : group;
    deduplicate = deduplicate == null ? Duration.ofHours(2) : deduplicate;
    stores = stores == null ? ALL : List.copyOf(stores);
    for (String store : stores) {
      if (!ALL.contains(store)) {
        throw new ConfigException("store.stores: no store " + store + "; there are " + ALL);
      }
    }
  }

  /** Refuses unknown sinks of a job that writes topics. Lists of former versions have stores. */
  static void checkSinks(String key, List<String> sinks, List<String> known) {
    for (String sink : sinks) {
      if (!known.contains(sink)) {
        String remedy =
            ALL.contains(sink)
                ? "; the job store writes %s: write %s: %s, and submit store --only %s"
                    .formatted(sink, key, known, sink)
                : "";
        throw new ConfigException(
            "%s: no sink %s; there are %s%s".formatted(key, sink, known, remedy));
      }
    }
  }
}
