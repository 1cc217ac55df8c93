package dnscribe.stream.store;

import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.CheckedRecord;
import dnscribe.stream.record.MalformedException;
import dnscribe.stream.record.RecordChecker;

/** Reads records that are stored as they are: alerts, probes and changes. */
final class EventParser implements RecordReader.Parser<OutputRecord> {
  private final String name;
  private final RecordChecker schema;

  EventParser(String name) {
    this.name = name;
    this.schema = new RecordChecker(name);
  }

  @Override
  public OutputRecord parse(KafkaRecord record) throws MalformedException {
    CheckedRecord checked = schema.check(record.value());
    return new OutputRecord(name, checked.node(), checked.eventId(), record.key(), record.value());
  }
}
