package dnscribe.stream.job;

import dnscribe.stream.config.Config;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.kafka.SchemaRegistry;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.record.AvroReader;
import dnscribe.stream.record.DeadLetter;
import dnscribe.stream.record.MalformedException;
import java.io.Serializable;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.util.OutputTag;

/**
 * Reads the records of one topic, in JSON or Avro, and checks them. What does not fit is a dead
 * letter.
 */
public final class RecordReader<T> extends CountingOperator<KafkaRecord, T> {
  /** Side output of the dead letters. */
  public static final OutputTag<OutputRecord> DEAD_LETTERS =
      new OutputTag<>("dead-letters", TypeInformation.of(OutputRecord.class));

  private static final int RECORDS = 0;
  private static final int MALFORMED = 1;
  private static final int DEAD_LETTER_RECORDS = 2;
  private static final int DEAD_LETTERS_WRITTEN = 3;

  private final String stream;
  private final boolean writesDeadLetters;
  private final ParserFactory<T> factory;
  private final Config.Registry registry;
  private transient Parser<T> parser;
  private transient AvroReader avro;

  /** Turns a record into the type of the job. */
  public interface Parser<T> {
    /**
     * Parses a record.
     *
     * @throws MalformedException if it does not fit its schema
     */
    T parse(KafkaRecord record) throws MalformedException;
  }

  /** Creates the parser of a subtask, where its schema is loaded. */
  public interface ParserFactory<T> extends Serializable {
    /** Creates a parser. */
    Parser<T> create();
  }

  /**
   * Creates a reader.
   *
   * @param name of the operator in the ledger's state; one of its own for each reader of a job
   * @param stream of the records, such as {@code transactions}, for dead letters
   * @param writesDeadLetters false for a backfill, whose dead letters are in the topic already
   * @param registry where the schemas of records in Avro are
   */
  public RecordReader(
      String name,
      String stream,
      String topic,
      String deadLetterTopic,
      boolean writesDeadLetters,
      Config.Registry registry,
      ParserFactory<T> factory) {
    super(
        name,
        "input/" + topic + "/records",
        "input/" + topic + "/malformed",
        "output/" + deadLetterTopic + "/records",
        "output/" + deadLetterTopic + "/written");
    this.stream = stream;
    this.writesDeadLetters = writesDeadLetters;
    this.registry = registry;
    this.factory = factory;
  }

  @Override
  public void open() throws Exception {
    super.open();
    parser = factory.create();
    avro = new AvroReader(new SchemaRegistry(registry));
  }

  @Override
  public void processElement(StreamRecord<KafkaRecord> element) throws InterruptedException {
    KafkaRecord record = element.getValue();
    countRead(RECORDS, record);
    T parsed;
    try {
      KafkaRecord json =
          AvroReader.isAvro(record.value())
              ? record.withValue(avro.toJson(record.value()))
              : record;
      parsed = parse(parser, json);
    } catch (MalformedException error) {
      count(MALFORMED, 1);
      if (writesDeadLetters) {
        count(DEAD_LETTER_RECORDS, 1);
        count(DEAD_LETTERS_WRITTEN, 1);
        OutputRecord letter = DeadLetter.of(record, stream, error);
        output.collect(DEAD_LETTERS, new StreamRecord<>(letter));
      }
      return;
    }
    output.collect(element.replace(parsed));
  }

  /**
   * Parses a record. A fault of the parser is one of the record: it would come again after each
   * restart of the job.
   *
   * @throws MalformedException if it cannot be read
   */
  public static <T> T parse(Parser<T> parser, KafkaRecord record) throws MalformedException {
    try {
      return parser.parse(record);
    } catch (RuntimeException error) {
      throw MalformedException.unreadable(error);
    }
  }
}
