package dnscribe.stream.enrich;

import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.record.CheckedRecord;

/**
 * A {@code dns.transaction/1} between the operators of the job.
 *
 * @param read as it was read from the topic
 * @param record in JSON
 */
public record Transaction(KafkaRecord read, CheckedRecord record) {}
