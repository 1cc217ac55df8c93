package dnscribe.stream.detect;

import dnscribe.stream.config.Config;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.record.DeadLetter;
import dnscribe.stream.record.MalformedException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/** Reads {@code dns.enriched/1}. */
final class EnrichedReader extends CellReader {
  private static final int RECORDS = 0;
  private static final int UNIQUE = 1;
  private static final int MALFORMED = 2;
  private static final int DEAD_LETTERS = 3;
  private static final int DEAD_LETTERS_WRITTEN = 4;

  /** Characters of a zone at most: alerts, which repeat it, must fit a topic. */
  private static final int MAX_NAME = 4096;

  private transient EnrichedRecord record;
  private transient EnrichedCells cells;
  private transient List<Cell> made;

  EnrichedReader(Config config) {
    super(
        config,
        "enriched",
        "input/" + config.kafka().topics().enriched() + "/records",
        "input/" + config.kafka().topics().enriched() + "/unique",
        "input/" + config.kafka().topics().enriched() + "/malformed",
        "output/" + config.kafka().topics().dlq() + "/records",
        "output/" + config.kafka().topics().dlq() + "/written");
  }

  @Override
  public void open() throws Exception {
    super.open();
    record = new EnrichedRecord();
    cells = new EnrichedCells(settings().detect());
    made = new ArrayList<>();
  }

  @Override
  void read(KafkaRecord read) {
    countRead(RECORDS, read);
    made.clear();
    try {
      record.read(read.value());
      if (record.zone != null && record.zone.length() > MAX_NAME) {
        throw new IOException("zone: too long");
      }
      if (record.node != null && record.time > 0) {
        cells.of(record, made::add);
      }
    } catch (IOException | RuntimeException error) {
      // A time or a field of another type.
      count(MALFORMED, 1);
      count(DEAD_LETTERS, 1);
      count(DEAD_LETTERS_WRITTEN, 1);
      var reason = new MalformedException("json", String.valueOf(error.getMessage()));
      output.collect(
          RecordReader.DEAD_LETTERS, new StreamRecord<>(DeadLetter.of(read, "enriched", reason)));
      return;
    }
    // The topic is written exactly once.
    count(UNIQUE, 1);
    if (record.node != null && record.time > 0) {
      observe(read, record.node, record.time);
      made.forEach(this::add);
    }
  }
}
