package org.apache.flink.connector.kafka.sink;

import java.lang.reflect.Field;
import java.util.Collection;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.kafka.clients.admin.AdminClient;

/**
 * An exactly-once sink whose writers close the admin client by which they have found former
 * transactions. Those of the connector 5.0.0 leave it open: its thread would keep all classes of a
 * job that has ended, until the task manager has no metaspace left. In this package because the
 * writer is not public.
 */
public final class ReleasingKafkaSink<T> extends KafkaSink<T> {
  private static final long serialVersionUID = 1;

  /** Makes a sink with the properties of another one. */
  public ReleasingKafkaSink(
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
