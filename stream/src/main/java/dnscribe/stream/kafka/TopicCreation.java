package dnscribe.stream.kafka;

import dnscribe.stream.config.Config;
import dnscribe.stream.config.TopicConfig;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.common.KafkaException;

/** Creation of the topics that the jobs need. It runs without Flink. */
public final class TopicCreation {
  private TopicCreation() {}

  /**
   * Creates the topics of the jobs that are missing; the others stay as they are.
   *
   * @throws IOException if the brokers cannot be reached, or refuse
   */
  public static void create(Config config) throws IOException, InterruptedException {
    try {
      createMissing(config);
    } catch (ExecutionException error) {
      throw refusal(config, error.getCause());
    } catch (KafkaException error) {
      // Its cause says which setting is wrong.
      throw refusal(config, error.getCause() == null ? error : error.getCause());
    }
  }

  private static IOException refusal(Config config, Throwable cause) {
    return new IOException(
        "kafka.brokers: %s: %s".formatted(config.kafka().brokers(), cause.getMessage()), cause);
  }

  private static void createMissing(Config config) throws ExecutionException, InterruptedException {
    Properties properties = properties(config.kafka());
    properties.setProperty("bootstrap.servers", config.kafka().brokers());
    try (Admin admin = Admin.create(properties)) {
      Set<String> existing = admin.listTopics().names().get();
      List<NewTopic> missing = missing(config.kafka(), existing);
      admin.createTopics(missing).all().get();
      for (NewTopic topic : missing) {
        System.out.println("created " + topic.name());
      }
    }
  }

  static List<NewTopic> missing(Config.Kafka kafka, Set<String> existing) {
    Short replicas = kafka.replicationFactor();
    List<NewTopic> missing = new ArrayList<>();
    for (TopicConfig topic : TopicConfig.all(kafka)) {
      if (!existing.contains(topic.name())) {
        NewTopic wanted =
            new NewTopic(
                topic.name(), Optional.of(topic.partitions()), Optional.ofNullable(replicas));
        missing.add(wanted.configs(topic.settings(replicas)));
      }
    }
    return missing;
  }

  static Properties properties(Config.Kafka kafka) {
    Properties properties = new Properties();
    for (Map.Entry<String, String> option : kafka.options().entrySet()) {
      properties.setProperty(option.getKey(), option.getValue());
    }
    return properties;
  }
}
