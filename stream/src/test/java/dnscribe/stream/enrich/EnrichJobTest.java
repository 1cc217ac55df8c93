package dnscribe.stream.enrich;

import static dnscribe.stream.Records.bytes;
import static dnscribe.stream.Records.text;
import static dnscribe.stream.Records.transaction;
import static org.assertj.core.api.Assertions.assertThat;

import dnscribe.stream.config.Arguments;
import dnscribe.stream.config.Config;
import dnscribe.stream.job.JobBuilder;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.apache.flink.runtime.testutils.MiniClusterResourceConfiguration;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.test.junit5.MiniClusterExtension;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The job's operators in a cluster of two slots, with Flink's serializers between them. */
class EnrichJobTest {
  @RegisterExtension
  static final MiniClusterExtension CLUSTER =
      new MiniClusterExtension(
          new MiniClusterResourceConfiguration.Builder()
              .setNumberTaskManagers(1)
              .setNumberSlotsPerTaskManager(2)
              .build());

  /** In one slot no record is exchanged between subtasks. */
  @ParameterizedTest
  @ValueSource(ints = {1, 2})
  void eachTransactionOnce(int slots) throws Exception {
    Config config = config();
    Arguments arguments = new Arguments("enrich", Path.of("stream.yaml"), null, null, null);
    JobBuilder job = new JobBuilder("enrich", config, arguments);
    job.reuseObjects();
    job.environment().setParallelism(slots);
    List<KafkaRecord> topic = new ArrayList<>();
    for (int copy = 0; copy < 2; copy++) {
      for (int number = 0; number < 500; number++) {
        // Without a key, and with one.
        byte[] key = number % 2 == 0 ? null : bytes("key");
        topic.add(new KafkaRecord("t", 0, topic.size(), 0, key, transaction(number)));
      }
      topic.add(new KafkaRecord("t", 0, topic.size(), 0, bytes("key"), bytes("not json")));
    }
    DataStream<KafkaRecord> records =
        job.environment().fromData(KafkaRecord.class, topic.toArray(new KafkaRecord[0]));
    List<OutputRecord> enriched = new ArrayList<>();
    try (var results = EnrichJob.enrich(job, config, records).executeAndCollect()) {
      results.forEachRemaining(enriched::add);
    }
    assertThat(enriched)
        .hasSize(500)
        .allMatch(record -> record.schema().equals("dns.enriched/1"))
        .allMatch(record -> text(record.node()).equals("n1"))
        .allMatch(record -> (record.idLow() % 2 == 0) == (record.key() == null))
        .extracting(OutputRecord::eventId)
        .containsExactlyInAnyOrderElementsOf(
            IntStream.range(0, 500).mapToObj("%032x"::formatted).toList());
  }

  /** Without topics of tables, so that no broker is needed. */
  private static Config config() {
    Config.Enrich enrich = new Config.Enrich(null, null, null, null, List.of(), null);
    return new Config(1, null, enrich, null, null, null, null, null, null, null, null, null);
  }
}
