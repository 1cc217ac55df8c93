package org.apache.flink.connector.kafka.sink;

import java.io.IOException;
import java.lang.reflect.Field;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.flink.api.connector.sink2.Committer;
import org.apache.flink.api.connector.sink2.CommitterInitContext;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.internal.KafkaCommitter;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.TransactionState;

/**
 * An exactly-once sink without two faults of the connector 5.0.0. In this package because the
 * connector's writer is not public.
 *
 * <ul>
 *   <li>A transaction that cannot be committed ends the job ({@link StrictCommitter}).
 *   <li>Writers close the admin client by which they have found former transactions. Its thread
 *       would keep all classes of a job that has ended, until the task manager has no metaspace
 *       left.
 * </ul>
 */
public final class ExactlyOnceKafkaSink<T> extends KafkaSink<T> {
  private static final long serialVersionUID = 1;

  /** Makes a sink with the properties of another one. */
  public ExactlyOnceKafkaSink(
      KafkaSink<T> sink, KafkaRecordSerializationSchema<T> serializer, String prefix) {
    super(
        DeliveryGuarantee.EXACTLY_ONCE,
        sink.getKafkaProducerConfig(),
        prefix,
        serializer,
        // The default makes a new id at each checkpoint, which brokers remember for a week.
        TransactionNamingStrategy.POOLING);
  }

  @Override
  public Committer<KafkaCommittable> createCommitter(CommitterInitContext context) {
    return new StrictCommitter((KafkaCommitter) super.createCommitter(context), this::state);
  }

  private TransactionState state(String id) throws IOException, InterruptedException {
    Properties properties = new Properties();
    properties.putAll(getKafkaProducerConfig());
    try (AdminClient client = AdminClient.create(properties)) {
      return client.describeTransactions(List.of(id)).description(id).get().state();
    } catch (ExecutionException error) {
      throw new IOException("Kafka does not tell the state of transaction " + id, error.getCause());
    }
  }

  @Override
  public KafkaWriter<T> restoreWriter(
      WriterInitContext context, Collection<KafkaWriterState> states) {
    // It has been initialized, and needs its client no more.
    KafkaWriter<T> writer = super.restoreWriter(context, states);
    try {
      Field field = ExactlyOnceKafkaWriter.class.getDeclaredField("adminClient");
      field.setAccessible(true);
      AdminClient client = (AdminClient) field.get(writer);
      if (client != null) {
        client.close();
        field.set(writer, null);
      }
      return writer;
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException("another version of the Kafka connector", e);
    }
  }
}
