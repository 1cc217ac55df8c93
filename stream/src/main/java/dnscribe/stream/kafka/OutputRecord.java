package dnscribe.stream.kafka;

import org.apache.flink.api.common.typeinfo.TypeInfo;

/**
 * A record to be written to a topic; schema, node and event id become headers.
 *
 * @param key as bytes, or null
 */
@TypeInfo(OutputRecordTypeFactory.class)
public record OutputRecord(String schema, String node, String eventId, byte[] key, byte[] value) {}
