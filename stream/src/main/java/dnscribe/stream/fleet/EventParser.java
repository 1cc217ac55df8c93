package dnscribe.stream.fleet;

import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.CheckedRecord;
import dnscribe.stream.record.MalformedException;
import dnscribe.stream.record.RecordSchema;

/** Reads records that are stored as they are: alerts, probes and changes. */
final class EventParser implements RecordReader.Parser<OutputRecord> {
  /** What a table needs of {@code dns.probe/1}, which other programs write. */
  private static final String PROBE =
      """
      {"type": "object", "required": ["schema", "event_id", "ts", "kind", "target", "ok"],
       "properties": {"schema": {"const": "dns.probe/1"},
        "event_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "ts": {"type": "string", "format": "date-time"}, "node": {"type": "string"},
        "kind": {"type": "string"}, "target": {"type": "string"}, "ok": {"type": "boolean"}}}
      """;

  private final String name;
  private final RecordSchema schema;

  EventParser(String name) {
    this.name = name;
    this.schema =
        name.equals("dns.probe/1") ? RecordSchema.parse(name, PROBE) : RecordSchema.load(name);
  }

  @Override
  public OutputRecord parse(KafkaRecord record) throws MalformedException {
    CheckedRecord checked = schema.check(record.value());
    return new OutputRecord(name, checked.node(), checked.eventId(), record.key(), record.value());
  }
}
