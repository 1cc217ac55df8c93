package dnscribe.stream.enrich;

import dnscribe.stream.config.Arguments;
import dnscribe.stream.config.Config;
import dnscribe.stream.job.JobBuilder;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.RecordSchema;
import dnscribe.stream.store.ClickHouse;
import dnscribe.stream.store.ClickHouseWriter;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;

/** The job {@code enrich}: dns.normalized to dns.enriched and ClickHouse, each transaction once. */
public final class EnrichJob {
  private EnrichJob() {}

  /** Submits the job to the cluster in whose context this runs. */
  public static void submit(Config config, Arguments arguments) throws Exception {
    JobBuilder job = new JobBuilder("enrich", config, arguments);
    Config.TopicNames topics = config.kafka().topics();
    boolean toTopic = config.enrich().sinks().contains("enriched") && !job.isBackfill();

    DataStream<KafkaRecord> records =
        job.source(
            topics.transactions(),
            config.enrich().group(),
            "transactions",
            WatermarkStrategy.noWatermarks());
    SingleOutputStreamOperator<Transaction> transactions =
        job.read(records, "read", Transaction.class, reader(topics, !job.isBackfill()));
    SingleOutputStreamOperator<Transaction> unique =
        job.transform(
            transactions.keyBy(Transaction::eventId),
            "deduplicate",
            TypeInformation.of(Transaction.class),
            new Deduplicator(topics.transactions(), config.enrich().deduplicate()));
    SingleOutputStreamOperator<OutputRecord> enriched =
        job.transform(
            unique, "enrich", JobBuilder.OUTPUT, new Enricher(topics.enriched(), toTopic));
    if (config.enrich().sinks().contains("clickhouse")) {
      job.transform(
          enriched,
          "clickhouse",
          TypeInformation.of(Void.class),
          new ClickHouseWriter(config.clickhouse(), ClickHouse.TRANSACTIONS));
    }
    if (toTopic) {
      job.toTopic(enriched, topics.enriched());
    }
    job.execute(config.enrich().sinks().contains("timescaledb"));
  }

  /** Returns the operator that reads transactions. */
  static RecordReader<Transaction> reader(Config.TopicNames topics, boolean writesDeadLetters) {
    return new RecordReader<>(
        "reader",
        "transactions",
        topics.transactions(),
        topics.dlq(),
        writesDeadLetters,
        () -> {
          RecordSchema schema = RecordSchema.load("dns.transaction/1");
          return record -> Transaction.of(record.key(), schema.check(record.value()));
        });
  }
}
