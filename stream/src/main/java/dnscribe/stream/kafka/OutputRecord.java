package dnscribe.stream.kafka;

/**
 * A record to be written to a topic; schema, node and event id become headers.
 *
 * @param key as bytes, or null
 */
public record OutputRecord(String schema, String node, String eventId, byte[] key, byte[] value) {}
