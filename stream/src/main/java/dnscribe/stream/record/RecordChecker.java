package dnscribe.stream.record;

import java.util.Set;

/** Checks records of one schema that are passed on as they are. */
public final class RecordChecker {
  private final RecordSchema<CheckedRecord.Builder> schema;

  /**
   * Creates a checker.
   *
   * @param schema such as {@code dns.transaction/1}
   */
  public RecordChecker(String schema) {
    this(schema, Set.of());
  }

  /** Creates a checker that refuses the fields {@code reserved}, too. */
  public RecordChecker(String schema, Set<String> reserved) {
    this.schema = RecordSchema.load(schema, CheckedRecord.Builder.setters(), reserved);
  }

  /**
   * Checks a record.
   *
   * @throws MalformedException if it is not a record of this schema
   */
  public CheckedRecord check(byte[] json) throws MalformedException {
    CheckedRecord.Builder record = new CheckedRecord.Builder(json);
    schema.read(json, record);
    return record.build();
  }
}
