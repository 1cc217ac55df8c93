package dnscribe.stream.enrich;

import dnscribe.stream.config.Arguments;
import dnscribe.stream.config.Config;
import dnscribe.stream.job.Deduplicator;
import dnscribe.stream.job.JobBuilder;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.CheckedRecord;
import dnscribe.stream.record.RecordChecker;
import dnscribe.stream.record.Time;
import java.time.Duration;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;

/** The job {@code enrich}: dns.normalized to dns.enriched, each transaction once. */
public final class EnrichJob {
  private EnrichJob() {}

  /** Submits the job to the cluster in whose context this runs. */
  public static void submit(Config config, Arguments arguments) throws Exception {
    JobBuilder job = new JobBuilder("enrich", config, arguments);
    // No operator keeps or changes a record that it has passed on.
    job.reuseObjects();
    Config.TopicNames topics = config.kafka().topics();

    DataStream<KafkaRecord> records =
        job.source(
            topics.transactions(),
            config.enrich().group(),
            "transactions",
            Deduplicator.recordTime());
    SingleOutputStreamOperator<OutputRecord> enriched = enrich(job, config, records);
    for (String table : config.enrich().tables()) {
      String topic = table.equals("zones") ? topics.zones() : topics.intel();
      job.checkTable(
          topic, config.enrich().group(), table, new ReferenceReader(table, topic, topics.dlq()));
    }
    job.toTopic(enriched, topics.enriched());
    job.execute();
  }

  /** Adds the operators from the topic's records to enriched ones, each once. */
  static SingleOutputStreamOperator<OutputRecord> enrich(
      JobBuilder job, Config config, DataStream<KafkaRecord> records) {
    Config.TopicNames topics = config.kafka().topics();
    SingleOutputStreamOperator<Transaction> transactions =
        job.read(records, "read", Transaction.class, reader(config.kafka()));
    // Enriched before an exchange: what goes through the network is what the sinks need.
    SingleOutputStreamOperator<OutputRecord> enriched =
        job.transform(transactions, "enrich", JobBuilder.OUTPUT, new Enricher(config));
    job.addDeadLetters(enriched.getSideOutput(RecordReader.DEAD_LETTERS));
    return job.transform(
        job.keyBy(enriched, Deduplicator::key, Types.INT),
        "deduplicate",
        JobBuilder.OUTPUT,
        deduplicator(topics, config.enrich().deduplicate()));
  }

  /** Returns the operator whose records go to the topic. */
  static Deduplicator deduplicator(Config.TopicNames topics, Duration remembered) {
    String output = "output/" + topics.enriched();
    return new Deduplicator(
        "deduplicator",
        topics.transactions(),
        remembered,
        output + "/records",
        output + "/written");
  }

  /** Returns the operator that reads transactions. */
  static RecordReader<Transaction> reader(Config.Kafka kafka) {
    return new RecordReader<>(
        "reader",
        "transactions",
        kafka.topics().transactions(),
        kafka.topics().dlq(),
        true,
        kafka.registry(),
        () -> {
          RecordChecker schema = new RecordChecker("dns.transaction/1", Enrichment.FIELDS);
          return record -> {
            CheckedRecord checked = schema.check(record.value());
            Time.checkAhead(checked.ts(), record.timestamp());
            return new Transaction(record, checked);
          };
        });
  }
}
