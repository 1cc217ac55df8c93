package dnscribe.stream.kafka;

import dnscribe.stream.config.Config;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;

/** Creation of the topics that the jobs need. It runs without Flink. */
public final class TopicCreation {
  private TopicCreation() {}

  /** Creates the topics of the jobs that are missing, with the broker's defaults. */
  public static void create(Config config) throws Exception {
    List<String> wanted = config.kafka().topics().all();
    Set<String> compacted = config.kafka().topics().compacted();
    Properties properties = properties(config.kafka());
    properties.setProperty("bootstrap.servers", config.kafka().brokers());
    try (Admin admin = Admin.create(properties)) {
      Set<String> existing = admin.listTopics().names().get();
      List<NewTopic> missing = new ArrayList<>();
      for (String name : wanted) {
        if (!existing.contains(name)) {
          NewTopic topic = new NewTopic(name, Optional.empty(), Optional.empty());
          missing.add(
              compacted.contains(name)
                  ? topic.configs(Map.of("cleanup.policy", "compact"))
                  : topic);
        }
      }
      admin.createTopics(missing).all().get();
      for (NewTopic topic : missing) {
        System.out.println("created " + topic.name());
      }
    }
  }

  static Properties properties(Config.Kafka kafka) {
    Properties properties = new Properties();
    for (Map.Entry<String, String> option : kafka.options().entrySet()) {
      properties.setProperty(option.getKey(), option.getValue());
    }
    return properties;
  }
}
