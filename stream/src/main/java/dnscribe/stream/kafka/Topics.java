package dnscribe.stream.kafka;

import dnscribe.stream.config.Config;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Optional;
import java.util.Properties;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.lineage.DefaultKafkaDatasetFacet;
import org.apache.flink.connector.kafka.lineage.DefaultKafkaDatasetIdentifier;
import org.apache.flink.connector.kafka.lineage.KafkaDatasetFacet;
import org.apache.flink.connector.kafka.lineage.KafkaDatasetFacetProvider;
import org.apache.flink.connector.kafka.sink.ExactlyOnceKafkaSink;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.KafkaSourceBuilder;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Sources and sinks of the topics. */
public final class Topics {
  private Topics() {}

  /** Returns a source of committed records; the caller adds offsets and builds it. */
  public static KafkaSourceBuilder<KafkaRecord> source(
      Config.Kafka kafka, String topic, String group) {
    Properties properties = TopicCreation.properties(kafka);
    properties.setProperty("isolation.level", "read_committed");
    return KafkaSource.<KafkaRecord>builder()
        .setProperties(properties)
        .setBootstrapServers(kafka.brokers())
        .setTopics(topic)
        .setGroupId(group)
        .setDeserializer(new Reader());
  }

  /**
   * Returns a consumer of committed records without a group, for topics that are read as tables.
   */
  public static KafkaConsumer<byte[], byte[]> consumer(Config.Kafka kafka) {
    Properties properties = TopicCreation.properties(kafka);
    properties.setProperty("bootstrap.servers", kafka.brokers());
    properties.setProperty("isolation.level", "read_committed");
    properties.setProperty("enable.auto.commit", "false");
    return new KafkaConsumer<>(
        properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
  }

  /**
   * Returns an exactly-once sink. Two sinks of one cluster must not have equal {@code prefix}es of
   * their transactions.
   */
  public static KafkaSink<OutputRecord> sink(Config.Kafka kafka, String topic, String prefix) {
    Properties properties = TopicCreation.properties(kafka);
    properties.putIfAbsent("compression.type", "zstd");
    // As the agent: higher levels cost more than they save.
    properties.putIfAbsent("compression.zstd.level", "1");
    properties.putIfAbsent("linger.ms", "20");
    properties.putIfAbsent("batch.size", "262144");
    properties.put(
        Config.Kafka.TRANSACTION_TIMEOUT, String.valueOf(kafka.transactionTimeout().toMillis()));
    Writer writer = new Writer(topic);
    KafkaSink<OutputRecord> sink =
        KafkaSink.<OutputRecord>builder()
            .setKafkaProducerConfig(properties)
            .setBootstrapServers(kafka.brokers())
            .setRecordSerializer(writer)
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(prefix)
            .build();
    return new ExactlyOnceKafkaSink<>(sink, writer, prefix);
  }

  /** Returns a record's bytes as a producer counts them, before they are compressed; rounded up. */
  public static int size(OutputRecord record) {
    int key = record.key() == null ? 0 : record.key().length;
    // Names and lengths of the headers and frames.
    int frame = 256;
    return key
        + record.value().length
        + record.schema().length()
        + record.node().length
        + OutputRecord.ID_DIGITS
        + frame;
  }

  private static final class Reader implements KafkaRecordDeserializationSchema<KafkaRecord> {
    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<KafkaRecord> out) {
      byte[] value = record.value() == null ? new byte[0] : record.value();
      out.collect(
          new KafkaRecord(
              record.topic(),
              record.partition(),
              record.offset(),
              record.timestamp(),
              record.key(),
              value));
    }

    @Override
    public TypeInformation<KafkaRecord> getProducedType() {
      return TypeInformation.of(KafkaRecord.class);
    }
  }

  private static final class Writer
      implements KafkaRecordSerializationSchema<OutputRecord>, KafkaDatasetFacetProvider {
    private final String topic;

    /** Schema of the last record, and the bytes of its name. */
    private transient String schema;

    private transient byte[] schemaName;

    Writer(String topic) {
      this.topic = topic;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(
        OutputRecord record, KafkaSinkContext context, Long timestamp) {
      RecordHeaders headers = new RecordHeaders();
      if (!record.schema().equals(schema)) {
        schema = record.schema();
        schemaName = schema.getBytes(StandardCharsets.UTF_8);
      }
      headers.add("schema", schemaName);
      headers.add("node", record.node());
      headers.add("event_id", record.idDigits());
      return new ProducerRecord<>(topic, null, null, record.key(), record.value(), headers);
    }

    /** The sink looks for former transactions of this topic. */
    @Override
    public Optional<KafkaDatasetFacet> getKafkaDatasetFacet() {
      return Optional.of(
          new DefaultKafkaDatasetFacet(DefaultKafkaDatasetIdentifier.ofTopics(List.of(topic))));
    }
  }
}
