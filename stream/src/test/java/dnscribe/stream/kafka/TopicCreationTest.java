package dnscribe.stream.kafka;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dnscribe.stream.config.Config;
import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.NewTopic;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TopicCreationTest {
  /** The message is all that a person sees. */
  @ParameterizedTest
  @ValueSource(strings = {"localhost:1", "no port"})
  void unreachableBrokersAreNamed(String brokers) {
    Map<String, String> options =
        Map.of("default.api.timeout.ms", "300", "request.timeout.ms", "200");
    Config.Kafka kafka =
        new Config.Kafka(brokers, null, null, options, null, null, null, null, null);
    Config config =
        new Config(1, kafka, null, null, null, null, null, null, null, null, null, null);
    assertThatThrownBy(() -> TopicCreation.create(config))
        .isInstanceOf(IOException.class)
        .hasMessageStartingWith("kafka.brokers: " + brokers + ": ");
  }

  @Test
  void everyTopicHasItsSettings() {
    Map<String, NewTopic> topics = missing(kafka(Map.of(), Map.of(), null, null), Set.of());
    assertThat(topics).hasSize(15);
    // Without them the brokers' defaults count: often one partition, and no compaction.
    assertThat(topics.values())
        .allMatch(topic -> topic.numPartitions() > 0)
        .allMatch(topic -> topic.replicationFactor() == -1)
        .allMatch(topic -> topic.configs().containsKey("retention.ms"))
        .allMatch(topic -> topic.configs().get("compression.type").equals("producer"))
        .allMatch(topic -> topic.configs().get("message.timestamp.type").equals("LogAppendTime"))
        .noneMatch(topic -> topic.configs().containsKey("min.insync.replicas"));
    NewTopic transactions = topics.get("dns.normalized");
    assertThat(transactions.numPartitions()).isEqualTo(12);
    assertThat(transactions.configs())
        .containsEntry("retention.ms", "604800000")
        .containsEntry("segment.ms", "86400000")
        .containsEntry("cleanup.policy", "delete")
        .doesNotContainKey("min.compaction.lag.ms");
    assertThat(topics.get("dns.alerts").configs())
        .containsEntry("cleanup.policy", "compact,delete")
        .containsEntry("min.compaction.lag.ms", "604800000");
    assertThat(topics.get("dns.zones").configs()).containsEntry("cleanup.policy", "compact");
    assertThat(topics.get("dns.stream.ledger").numPartitions()).isEqualTo(1);
  }

  @Test
  void settingsReplaceDefaults() {
    var kafka = kafka(Map.of("fleet", 24), Map.of("fleet", Duration.ofHours(2)), (short) 3, null);
    Map<String, NewTopic> topics = missing(kafka, Set.of("dns.normalized"));
    assertThat(topics).hasSize(14).doesNotContainKey("dns.normalized");
    NewTopic fleet = topics.get("dns.fleet");
    assertThat(fleet.numPartitions()).isEqualTo(24);
    assertThat(fleet.replicationFactor()).isEqualTo((short) 3);
    assertThat(fleet.configs())
        .containsEntry("retention.ms", "7200000")
        .containsEntry("segment.ms", "1800000")
        .containsEntry("min.insync.replicas", "2");
  }

  @Test
  void streamsMayShareATopic() {
    var names =
        new Config.TopicNames(
            null, null, null, null, null, "all", null, null, null, null, null, null, null, "all",
            null);
    NewTopic all = missing(kafka(Map.of("dlq", 5), Map.of(), null, names), Set.of()).get("all");
    assertThat(all.numPartitions()).isEqualTo(5);
    assertThat(all.configs())
        .containsEntry("retention.ms", "7776000000")
        .containsEntry("cleanup.policy", "delete");
  }

  private static Config.Kafka kafka(
      Map<String, Integer> partitions,
      Map<String, Duration> retention,
      Short replicas,
      Config.TopicNames names) {
    return new Config.Kafka(null, null, names, null, null, partitions, retention, replicas, null);
  }

  private static Map<String, NewTopic> missing(Config.Kafka kafka, Set<String> existing) {
    List<NewTopic> topics = TopicCreation.missing(kafka, existing);
    Map<String, NewTopic> byName = new HashMap<>();
    topics.forEach(topic -> byName.put(topic.name(), topic));
    return byName;
  }
}
