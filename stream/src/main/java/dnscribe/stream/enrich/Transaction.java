package dnscribe.stream.enrich;

import dnscribe.stream.record.CheckedRecord;

/**
 * A {@code dns.transaction/1} between the operators of the job.
 *
 * @param key of its record in Kafka, or null
 */
public record Transaction(byte[] key, CheckedRecord record) {}
