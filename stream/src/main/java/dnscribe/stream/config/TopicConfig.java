package dnscribe.stream.config;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Settings of a new topic. Those of the agents' streams and of the topics that people write are the
 * ones with which {@code dnscribe kafka init} and {@code dnscribe zones import} create them.
 *
 * @param name of the topic
 * @param partitions of it
 * @param retention how long it keeps records; without effect if it is only compacted
 * @param cleanup Kafka's {@code cleanup.policy}
 */
public record TopicConfig(String name, int partitions, Duration retention, String cleanup) {
  private static final String DELETE = "delete";
  private static final String COMPACT = "compact";
  private static final Map<String, TopicConfig> DEFAULTS = defaults();

  /** Until then late readers and {@code ledger verify} find every record. */
  private static final Duration COMPACTION_LAG = Duration.ofDays(7);

  private static Map<String, TopicConfig> defaults() {
    Map<String, TopicConfig> all = new TreeMap<>();
    add(all, "transactions", 12, 7, DELETE);
    add(all, "enriched", 12, 7, DELETE);
    add(all, "metrics", 6, 30, DELETE);
    add(all, "fleet", 6, 30, DELETE);
    add(all, "fleet_rollups", 3, 90, DELETE);
    add(all, "probes", 3, 30, DELETE);
    add(all, "alerts", 3, 90, "compact,delete");
    add(all, "lookups", 6, 7, DELETE);
    add(all, "connections", 6, 7, DELETE);
    add(all, "uses", 6, 7, DELETE);
    add(all, "dlq", 3, 7, DELETE);
    add(all, "changes", 1, 400, DELETE);
    add(all, "zones", 1, 400, COMPACT);
    add(all, "intel", 3, 400, COMPACT);
    // One order over all jobs.
    add(all, "stream_ledger", 1, 90, DELETE);
    return all;
  }

  private static void add(
      Map<String, TopicConfig> all, String stream, int partitions, int days, String cleanup) {
    all.put(stream, new TopicConfig(stream, partitions, Duration.ofDays(days), cleanup));
  }

  static void check(
      Map<String, Integer> partitions, Map<String, Duration> retention, Short replicationFactor) {
    checkStreams("partitions", partitions);
    checkStreams("retention", retention);
    for (var entry : partitions.entrySet()) {
      if (entry.getValue() < 1 || entry.getValue() > 10_000) {
        throw new ConfigException("kafka.partitions." + entry.getKey() + ": 1 to 10000");
      }
    }
    if (replicationFactor != null && replicationFactor < 1) {
      throw new ConfigException("kafka.replication_factor: at least 1");
    }
  }

  private static void checkStreams(String key, Map<String, ?> values) {
    for (String stream : values.keySet()) {
      if (!DEFAULTS.containsKey(stream)) {
        throw new ConfigException(
            "kafka.%s: no stream %s; there are %s".formatted(key, stream, DEFAULTS.keySet()));
      }
    }
  }

  /** Returns the topics that the jobs read and write. Streams may share one: its largest values. */
  public static List<TopicConfig> all(Config.Kafka kafka) {
    Map<String, TopicConfig> topics = new TreeMap<>();
    Map<String, String> names = kafka.topics().byStream();
    for (var entry : DEFAULTS.entrySet()) {
      String stream = entry.getKey();
      TopicConfig topic =
          new TopicConfig(
              names.get(stream),
              kafka.partitions().getOrDefault(stream, entry.getValue().partitions),
              kafka.retention().getOrDefault(stream, entry.getValue().retention),
              entry.getValue().cleanup);
      topics.merge(topic.name, topic, TopicConfig::shared);
    }
    return new ArrayList<>(topics.values());
  }

  private TopicConfig shared(TopicConfig other) {
    return new TopicConfig(
        name,
        Math.max(partitions, other.partitions),
        retention.compareTo(other.retention) < 0 ? other.retention : retention,
        cleanup.equals(other.cleanup) ? cleanup : DELETE);
  }

  /** Returns Kafka's settings of the topic. */
  public Map<String, String> settings(Short replicationFactor) {
    Duration day = Duration.ofDays(1);
    Duration quarter = retention.dividedBy(4);
    Map<String, String> settings = new HashMap<>();
    settings.put("retention.ms", String.valueOf(retention.toMillis()));
    settings.put("cleanup.policy", cleanup);
    // Of a host whose clock is an hour fast, Kafka 4 refuses every record that has the host's time.
    settings.put("message.timestamp.type", "LogAppendTime");
    // The producer compresses.
    settings.put("compression.type", "producer");
    // Kafka deletes whole segments.
    settings.put(
        "segment.ms", String.valueOf((quarter.compareTo(day) < 0 ? quarter : day).toMillis()));
    if (!cleanup.equals(DELETE)) {
      settings.put("min.compaction.lag.ms", String.valueOf(COMPACTION_LAG.toMillis()));
    }
    if (replicationFactor != null && replicationFactor > 2) {
      // Acknowledged records are then on two brokers, whatever the brokers' default.
      settings.put("min.insync.replicas", "2");
    }
    return settings;
  }
}
