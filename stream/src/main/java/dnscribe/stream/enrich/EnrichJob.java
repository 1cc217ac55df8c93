package dnscribe.stream.enrich;

import dnscribe.stream.config.Arguments;
import dnscribe.stream.config.Config;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.kafka.Topics;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.ledger.Counts;
import dnscribe.stream.ledger.LedgerOperator;
import dnscribe.stream.store.ClickHouse;
import dnscribe.stream.store.ClickHouseWriter;
import dnscribe.stream.store.LedgerWriter;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.connector.kafka.source.KafkaSourceBuilder;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * The job {@code enrich}: dns.normalized to dns.enriched and ClickHouse, each transaction once.
 *
 * <p>A backfill ({@code --to}) writes to the store only: its records are in the topics already.
 */
public final class EnrichJob {
  private static final String NAME = "enrich";
  private static final TypeInformation<OutputRecord> OUTPUT =
      TypeInformation.of(OutputRecord.class);

  private EnrichJob() {}

  /** Submits the job to the cluster in whose context this runs. */
  public static void submit(Config config, Arguments arguments) throws Exception {
    Configuration options = new Configuration();
    options.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, config.checkpoints().interval());
    options.set(
        CheckpointingOptions.CHECKPOINTING_CONSISTENCY_MODE, CheckpointingMode.EXACTLY_ONCE);
    // While a store is away a checkpoint cannot complete; the job then waits instead of failing.
    options.set(CheckpointingOptions.TOLERABLE_FAILURE_NUMBER, Integer.MAX_VALUE);
    // Every type has a serializer of Flink's own.
    options.set(PipelineOptions.GENERIC_TYPES, false);
    // No operator keeps or changes a record that it has passed on.
    options.set(PipelineOptions.OBJECT_REUSE, true);
    StreamExecutionEnvironment environment =
        StreamExecutionEnvironment.getExecutionEnvironment(options);
    String name = arguments.isBounded() ? NAME + "-backfill" : NAME;
    // A backfill must not move the offsets at which the job itself would go on.
    String group = config.enrich().group() + (arguments.isBounded() ? "-backfill" : "");
    KafkaSourceBuilder<KafkaRecord> source =
        Topics.source(config.kafka(), config.kafka().topics().transactions(), group);
    source.setStartingOffsets(arguments.start());
    if (arguments.isBounded()) {
      source.setBounded(OffsetsInitializer.timestamp(arguments.to().toEpochMilli()));
    }
    DataStream<KafkaRecord> records =
        environment
            .fromSource(source.build(), WatermarkStrategy.noWatermarks(), "transactions")
            .uid("transactions");
    build(config, environment, records, arguments.isBounded());
    environment.execute(name);
  }

  private static void build(
      Config config,
      StreamExecutionEnvironment environment,
      DataStream<KafkaRecord> records,
      boolean backfill) {
    Config.TopicNames topics = config.kafka().topics();
    boolean toTopic = config.enrich().sinks().contains("enriched") && !backfill;

    SingleOutputStreamOperator<Transaction> transactions =
        records
            .transform(
                "read",
                TypeInformation.of(Transaction.class),
                new TransactionReader(topics.transactions(), topics.dlq(), !backfill))
            .uid("read");
    // Enriched before the shuffle: what goes through the network is what the sinks need.
    SingleOutputStreamOperator<OutputRecord> enriched =
        transactions
            .transform("enrich", OUTPUT, new Enricher(config))
            .uid("enrich")
            .keyBy(Deduplicator::key)
            .transform(
                "deduplicate",
                OUTPUT,
                new Deduplicator(
                    topics.transactions(),
                    topics.enriched(),
                    toTopic,
                    config.enrich().deduplicate()))
            .uid("deduplicate");
    DataStream<Counts> counts =
        transactions
            .getSideOutput(CountingOperator.COUNTS)
            .union(enriched.getSideOutput(CountingOperator.COUNTS));
    if (config.enrich().sinks().contains("clickhouse")) {
      SingleOutputStreamOperator<Void> rows =
          enriched
              .transform(
                  "clickhouse",
                  TypeInformation.of(Void.class),
                  new ClickHouseWriter(config.clickhouse(), ClickHouse.TRANSACTIONS))
              .uid("clickhouse");
      counts = counts.union(rows.getSideOutput(CountingOperator.COUNTS));
    }
    if (toTopic) {
      toTopic(config, enriched, topics.enriched());
    }
    if (!backfill) {
      DataStream<OutputRecord> deadLetters =
          transactions.getSideOutput(TransactionReader.DEAD_LETTERS);
      for (String table : config.enrich().tables()) {
        SingleOutputStreamOperator<OutputRecord> malformed = reference(config, environment, table);
        deadLetters = deadLetters.union(malformed);
        counts = counts.union(malformed.getSideOutput(CountingOperator.COUNTS));
      }
      toTopic(config, deadLetters, topics.dlq());
      SingleOutputStreamOperator<OutputRecord> ledger =
          counts.transform("ledger", OUTPUT, new LedgerOperator(NAME)).uid("ledger");
      ledger.setParallelism(1).setMaxParallelism(1);
      toTopic(config, ledger, topics.streamLedger());
      if (config.enrich().sinks().contains("timescaledb")) {
        ledger
            .transform(
                "timescaledb",
                TypeInformation.of(Void.class),
                new LedgerWriter(config.timescaledb()))
            .uid("timescaledb")
            .setParallelism(1);
      }
    }
  }

  /** Returns the dead letters of the topic of a table. */
  private static SingleOutputStreamOperator<OutputRecord> reference(
      Config config, StreamExecutionEnvironment environment, String table) {
    Config.TopicNames topics = config.kafka().topics();
    String topic = table.equals("zones") ? topics.zones() : topics.intel();
    return environment
        .fromSource(
            Topics.source(config.kafka(), topic, config.enrich().group())
                .setStartingOffsets(OffsetsInitializer.earliest())
                .build(),
            WatermarkStrategy.noWatermarks(),
            table)
        .uid(table)
        .setParallelism(1)
        .transform("check " + table, OUTPUT, new ReferenceReader(table, topic, topics.dlq()))
        .uid("check-" + table)
        .setParallelism(1);
  }

  private static void toTopic(Config config, DataStream<OutputRecord> records, String topic) {
    String prefix = "dnscribe-" + NAME + "-" + topic;
    var sink = records.sinkTo(Topics.sink(config.kafka(), topic, prefix)).name(topic).uid(topic);
    if (topic.equals(config.kafka().topics().streamLedger())) {
      sink.setParallelism(1);
    }
  }
}
