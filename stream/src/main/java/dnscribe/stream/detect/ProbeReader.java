package dnscribe.stream.detect;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dnscribe.stream.config.Config;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.SchemaRegistry;
import dnscribe.stream.record.AvroReader;
import dnscribe.stream.record.MalformedException;
import java.io.IOException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;

/**
 * Reads {@code dns.probe/1}. Those that cannot be read are counted; their dead letters are written
 * where they are stored.
 */
final class ProbeReader extends CellReader {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int UNREADABLE = 0;

  private transient AvroReader avro;
  private transient List<Cell> made;

  ProbeReader(Config config) {
    super(config, "detect-probes", "detect/unreadable");
  }

  @Override
  public void open() throws Exception {
    super.open();
    made = new ArrayList<>();
    avro = new AvroReader(new SchemaRegistry(settings().kafka().registry()));
  }

  @Override
  void read(KafkaRecord read) throws InterruptedException {
    made.clear();
    long time;
    String node;
    try {
      byte[] value = read.value();
      JsonNode record = JSON.readTree(AvroReader.isAvro(value) ? avro.toJson(value) : value);
      time = Instant.parse(record.path("ts").asText()).toEpochMilli();
      node = record.path("node").asText();
      SiteCells.of(record, time, made::add);
    } catch (IOException | RuntimeException | MalformedException error) {
      count(UNREADABLE, 1);
      return;
    }
    observe(read, node, time);
    made.forEach(this::add);
  }
}
