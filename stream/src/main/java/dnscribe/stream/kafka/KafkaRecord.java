package dnscribe.stream.kafka;

/**
 * A record as read from a topic.
 *
 * @param timestamp when it was written, in milliseconds since the epoch
 */
public record KafkaRecord(
    String topic, int partition, long offset, long timestamp, byte[] key, byte[] value) {}
