package dnscribe.stream.enrich;

import dnscribe.stream.record.CheckedRecord;

/**
 * A {@code dns.transaction/1} between the operators of the job.
 *
 * @param key of its record in Kafka, or null
 */
public record Transaction(
    byte[] key, byte[] json, String eventId, String node, int schemaStart, int schemaEnd, int end) {

  static Transaction of(byte[] key, CheckedRecord record) {
    return new Transaction(
        key,
        record.json(),
        record.eventId(),
        record.node(),
        record.schemaStart(),
        record.schemaEnd(),
        record.end());
  }
}
