package dnscribe.stream.enrich;

import dnscribe.stream.record.CheckedRecord;

/**
 * A {@code dns.transaction/1} between the operators of the job.
 *
 * @param key of its record in Kafka, or null
 * @param qname its query name, or null
 * @param zone the registrable domain of that, or null
 */
public record Transaction(
    byte[] key,
    byte[] json,
    String eventId,
    String node,
    String qname,
    String zone,
    int schemaStart,
    int schemaEnd,
    int end) {

  static Transaction of(byte[] key, CheckedRecord record) {
    return new Transaction(
        key,
        record.json(),
        record.eventId(),
        record.node(),
        record.qname(),
        record.zone(),
        record.schemaStart(),
        record.schemaEnd(),
        record.end());
  }
}
