package dnscribe.stream.store;

import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.CheckedRecord;
import dnscribe.stream.record.MalformedException;
import dnscribe.stream.record.RecordChecker;
import dnscribe.stream.record.Time;

/** Reads records that are stored as they are. */
final class EventParser implements RecordReader.Parser<OutputRecord> {
  /** What people announce may be long ahead. */
  private static final String CHANGES = "dns.change/1";

  private final String name;
  private final RecordChecker schema;

  EventParser(String name) {
    this.name = name;
    this.schema = new RecordChecker(name);
  }

  @Override
  public OutputRecord parse(KafkaRecord record) throws MalformedException {
    CheckedRecord checked = schema.check(record.value());
    if (!name.equals(CHANGES)) {
      Time.checkAhead(checked.ts(), record.timestamp());
    }
    return new OutputRecord(name, checked.node(), checked.eventId(), record.key(), record.value());
  }
}
