package dnscribe.stream.job;

import dnscribe.stream.config.Arguments;
import dnscribe.stream.config.Config;
import dnscribe.stream.config.ConfigException;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.kafka.Topics;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.ledger.Counts;
import dnscribe.stream.ledger.LedgerOperator;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.JobManagerOptions;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.configuration.SchedulerExecutionMode;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.KafkaSourceBuilder;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.DataStreamUtils;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * The parts that all jobs share: environment, sources, dead letters, topics and the ledger.
 *
 * <p>A backfill ({@code --to}) writes to its store only: its dead letters are in the topic already.
 */
public final class JobBuilder {
  /** Type of records for topics. */
  public static final TypeInformation<OutputRecord> OUTPUT = TypeInformation.of(OutputRecord.class);

  private final String name;
  private final Config config;
  private final Arguments arguments;
  private final StreamExecutionEnvironment environment;
  private final List<DataStream<Counts>> counts = new ArrayList<>();
  private final Set<String> operators = new HashSet<>();
  private final List<DataStream<OutputRecord>> deadLetters = new ArrayList<>();

  /** Creates a job in the cluster in whose context this runs. */
  public JobBuilder(String name, Config config, Arguments arguments) {
    this.name = name;
    this.config = config;
    this.arguments = arguments;
    Configuration options = new Configuration();
    options.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, config.checkpoints().interval());
    options.set(
        CheckpointingOptions.CHECKPOINTING_CONSISTENCY_MODE, CheckpointingMode.EXACTLY_ONCE);
    // A checkpoint that does not complete restarts the job before its transactions expire.
    options.set(CheckpointingOptions.CHECKPOINTING_TIMEOUT, config.checkpoints().timeout());
    options.set(CheckpointingOptions.TOLERABLE_FAILURE_NUMBER, 0);
    options.set(CheckpointingOptions.MAX_CONCURRENT_CHECKPOINTS, 1);
    options.set(CheckpointingOptions.MIN_PAUSE_BETWEEN_CHECKPOINTS, Duration.ZERO);
    // Every type has a serializer of Flink's own.
    options.set(PipelineOptions.GENERIC_TYPES, false);
    environment = StreamExecutionEnvironment.getExecutionEnvironment(options);
    // The ledger's counters speak of the records before the barriers.
    if (environment.getConfiguration().get(CheckpointingOptions.ENABLE_UNALIGNED)) {
      throw new ConfigException(
          CheckpointingOptions.ENABLE_UNALIGNED.key()
              + " is set in Flink's configuration: the ledger needs aligned checkpoints");
    }
  }

  /** Returns the environment, for inputs that are not topics. */
  public StreamExecutionEnvironment environment() {
    return environment;
  }

  /** Returns whether the job ends at a given time. */
  public boolean isBackfill() {
    return arguments.isBounded();
  }

  /** Returns the time from which on topics are read; the smallest if it is not a given one. */
  public long beginMs() {
    return arguments.beginMs();
  }

  /** Reads a topic from where the arguments say. {@code uid} names the source in savepoints. */
  public DataStream<KafkaRecord> source(
      String topic, String group, String uid, WatermarkStrategy<KafkaRecord> watermarks) {
    // A backfill must not move the offsets at which the job itself would go on.
    KafkaSourceBuilder<KafkaRecord> source =
        Topics.source(config.kafka(), topic, group + (isBackfill() ? "-backfill" : ""));
    source.setStartingOffsets(arguments.start());
    if (isBackfill()) {
      source.setBounded(OffsetsInitializer.timestamp(arguments.to().toEpochMilli()));
    }
    return environment.fromSource(source.build(), watermarks, uid).uid(uid);
  }

  /** Lets operators pass records on without copies. None of them may keep or change one. */
  public void reuseObjects() {
    environment.getConfig().enableObjectReuse();
  }

  /**
   * Checks the records of a compacted topic from its beginning, in one subtask. {@code check} emits
   * dead letters.
   */
  public void checkTable(
      String topic, String group, String uid, CountingOperator<KafkaRecord, OutputRecord> check) {
    KafkaSource<KafkaRecord> source =
        Topics.source(config.kafka(), topic, group)
            .setStartingOffsets(OffsetsInitializer.earliest())
            .build();
    DataStream<KafkaRecord> records =
        environment
            .fromSource(source, WatermarkStrategy.noWatermarks(), uid)
            .uid(uid)
            .setParallelism(1);
    deadLetters.add(transform(records, "check-" + uid, OUTPUT, check).setParallelism(1));
  }

  /** Applies an operator; its counters become part of the ledger. */
  public <I, O> SingleOutputStreamOperator<O> transform(
      DataStream<I> input, String uid, TypeInformation<O> type, CountingOperator<I, O> operator) {
    SingleOutputStreamOperator<O> result = input.transform(uid, type, operator).uid(uid);
    counts.add(result.getSideOutput(CountingOperator.COUNTS));
    operators.add(operator.name());
    return result;
  }

  /** Checks the records of a topic; what does not fit goes to the topic of dead letters. */
  public <T> SingleOutputStreamOperator<T> read(
      DataStream<KafkaRecord> records, String uid, Class<T> type, RecordReader<T> reader) {
    SingleOutputStreamOperator<T> result =
        transform(records, uid, TypeInformation.of(type), reader);
    addDeadLetters(result.getSideOutput(RecordReader.DEAD_LETTERS));
    return result;
  }

  /**
   * Partitions records by key. One subtask has all keys: its records need no exchange, and what
   * follows becomes part of its chain. Where Flink may change the parallelism of a job without
   * making its graph anew they are exchanged, since each key must come to the subtask that has it.
   */
  public <T, K> KeyedStream<T, K> keyBy(
      DataStream<T> records, KeySelector<T, K> key, TypeInformation<K> type) {
    ReadableConfig cluster = environment.getConfiguration();
    boolean isRescaled =
        cluster.get(JobManagerOptions.SCHEDULER) == JobManagerOptions.SchedulerType.Adaptive
            || cluster.get(JobManagerOptions.SCHEDULER_MODE) == SchedulerExecutionMode.REACTIVE
            || !cluster.get(PipelineOptions.PARALLELISM_OVERRIDES).isEmpty();
    return environment.getParallelism() == 1 && !isRescaled
        ? DataStreamUtils.reinterpretAsKeyedStream(records, key, type)
        : records.keyBy(key, type);
  }

  /** Adds records that go to the topic of dead letters. */
  public void addDeadLetters(DataStream<OutputRecord> records) {
    deadLetters.add(records);
  }

  /** Writes records to a topic, each once. */
  public void toTopic(DataStream<OutputRecord> records, String topic) {
    String prefix = config.kafka().transactionPrefix() + name + "-" + topic;
    var sink = records.sinkTo(Topics.sink(config.kafka(), topic, prefix)).name(topic).uid(topic);
    if (topic.equals(config.kafka().topics().streamLedger())) {
      sink.setParallelism(1);
    }
  }

  /** Adds the ledger and the dead letters, and submits the job. */
  public void execute() throws Exception {
    if (!isBackfill()) {
      toTopic(union(deadLetters), config.kafka().topics().dlq());
      SingleOutputStreamOperator<OutputRecord> ledger =
          union(counts)
              .transform("ledger", OUTPUT, new LedgerOperator(name, operators))
              .uid("ledger");
      ledger.setParallelism(1).setMaxParallelism(1);
      toTopic(ledger, config.kafka().topics().streamLedger());
    }
    executeWithoutLedger();
  }

  /** Submits a job whose operators have no counters. */
  public void executeWithoutLedger() throws Exception {
    environment.execute(isBackfill() ? name + "-backfill" : name);
  }

  private static <T> DataStream<T> union(List<DataStream<T>> streams) {
    DataStream<T> all = streams.get(0);
    for (DataStream<T> stream : streams.subList(1, streams.size())) {
      all = all.union(stream);
    }
    return all;
  }
}
