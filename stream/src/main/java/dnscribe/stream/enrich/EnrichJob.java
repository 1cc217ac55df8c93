package dnscribe.stream.enrich;

import dnscribe.stream.archive.Archive;
import dnscribe.stream.config.Arguments;
import dnscribe.stream.config.Config;
import dnscribe.stream.job.JobBuilder;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.RecordChecker;
import dnscribe.stream.store.ClickHouse;
import dnscribe.stream.store.ClickHouseWriter;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;

/**
 * The job {@code enrich}: dns.normalized to dns.enriched, ClickHouse and the archive, each
 * transaction once.
 */
public final class EnrichJob {
  private EnrichJob() {}

  /** Submits the job to the cluster in whose context this runs. */
  public static void submit(Config config, Arguments arguments) throws Exception {
    JobBuilder job = new JobBuilder("enrich", config, arguments);
    // No operator keeps or changes a record that it has passed on.
    job.reuseObjects();
    Config.TopicNames topics = config.kafka().topics();
    boolean toTopic = config.enrich().sinks().contains("enriched") && !job.isBackfill();

    DataStream<KafkaRecord> records =
        job.source(
            topics.transactions(),
            config.enrich().group(),
            "transactions",
            WatermarkStrategy.noWatermarks());
    SingleOutputStreamOperator<OutputRecord> enriched = enrich(job, config, records, toTopic);
    if (!job.isBackfill()) {
      for (String table : config.enrich().tables()) {
        String topic = table.equals("zones") ? topics.zones() : topics.intel();
        job.checkTable(
            topic, config.enrich().group(), table, new ReferenceReader(table, topic, topics.dlq()));
      }
    }
    if (config.enrich().sinks().contains("clickhouse")) {
      job.addDeadLetters(
          job.transform(
              enriched,
              "clickhouse",
              JobBuilder.OUTPUT,
              new ClickHouseWriter(
                  config.clickhouse(), ClickHouse.TRANSACTIONS, topics.dlq(), !job.isBackfill())));
    }
    if (toTopic) {
      job.toTopic(enriched, topics.enriched());
    }
    // Files have no keys: a backfill would write its records a second time.
    if (config.archive().enabled() && !job.isBackfill()) {
      Archive.add(job, enriched, config.archive());
    }
    job.execute(config.enrich().sinks().contains("timescaledb"));
  }

  /** Adds the operators from the topic's records to enriched ones, each once. */
  static SingleOutputStreamOperator<OutputRecord> enrich(
      JobBuilder job, Config config, DataStream<KafkaRecord> records, boolean toTopic) {
    Config.TopicNames topics = config.kafka().topics();
    SingleOutputStreamOperator<Transaction> transactions =
        job.read(records, "read", Transaction.class, reader(config.kafka(), !job.isBackfill()));
    // Enriched before the shuffle: what goes through the network is what the sinks need.
    return job.transform(
        transactions
            .transform("enrich", JobBuilder.OUTPUT, new Enricher(config))
            .uid("enrich")
            .keyBy(Deduplicator::key),
        "deduplicate",
        JobBuilder.OUTPUT,
        new Deduplicator(
            topics.transactions(), topics.enriched(), toTopic, config.enrich().deduplicate()));
  }

  /** Returns the operator that reads transactions. */
  static RecordReader<Transaction> reader(Config.Kafka kafka, boolean writesDeadLetters) {
    return new RecordReader<>(
        "reader",
        "transactions",
        kafka.topics().transactions(),
        kafka.topics().dlq(),
        writesDeadLetters,
        kafka.registry(),
        () -> {
          RecordChecker schema = new RecordChecker("dns.transaction/1");
          return record -> new Transaction(record.key(), schema.check(record.value()));
        });
  }
}
