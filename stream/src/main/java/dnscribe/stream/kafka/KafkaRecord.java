package dnscribe.stream.kafka;

/**
 * A record as read from a topic.
 *
 * @param timestamp when it was written, in milliseconds since the epoch
 */
public record KafkaRecord(
    String topic, int partition, long offset, long timestamp, byte[] key, byte[] value) {

  /** Returns the record with another value. */
  public KafkaRecord withValue(byte[] other) {
    return new KafkaRecord(topic, partition, offset, timestamp, key, other);
  }
}
