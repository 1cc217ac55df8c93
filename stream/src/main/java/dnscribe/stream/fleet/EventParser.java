package dnscribe.stream.fleet;

import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.CheckedRecord;
import dnscribe.stream.record.MalformedException;
import dnscribe.stream.record.RecordSchema;

/** Reads records that are stored as they are: alerts, probes and changes. */
final class EventParser implements RecordReader.Parser<OutputRecord> {
  private final String name;
  private final RecordSchema schema;

  EventParser(String name) {
    this.name = name;
    this.schema = RecordSchema.load(name);
  }

  @Override
  public OutputRecord parse(KafkaRecord record) throws MalformedException {
    CheckedRecord checked = schema.check(record.value());
    return new OutputRecord(name, checked.node(), checked.eventId(), record.key(), record.value());
  }
}
