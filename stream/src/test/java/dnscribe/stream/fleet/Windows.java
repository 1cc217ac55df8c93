package dnscribe.stream.fleet;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.record.MalformedException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;

/** Windows as the agent writes them. */
final class Windows {
  static final ObjectMapper JSON = new ObjectMapper();
  private static final NodeWindowParser PARSER = new NodeWindowParser();

  private Windows() {}

  /** Returns a record that the agent wrote, for changes: line {@code number} of a golden file. */
  static ObjectNode golden(int number) {
    try {
      return (ObjectNode) JSON.readTree(lines().get(number));
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }

  /** Returns the number of records in the golden file. */
  static int goldens() {
    return lines().size();
  }

  private static List<String> lines() {
    try {
      return Files.readAllLines(Path.of("..", "tests", "goldens", "windows.ndjson"));
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }

  /** Returns a window of ten seconds of a node, with the counters of the golden one. */
  static ObjectNode node(String node, long startMs, int id) {
    return golden(0)
        .put("node", node)
        .put("ts", Instant.ofEpochMilli(startMs).toString().replace("Z", ".0Z"))
        .put("event_id", "%032x".formatted(id));
  }

  static NodeWindow parse(ObjectNode json) throws MalformedException {
    return PARSER.parse(record(json));
  }

  static KafkaRecord record(ObjectNode json) {
    byte[] value = json.toString().getBytes(StandardCharsets.UTF_8);
    return new KafkaRecord("dns.metrics", 0, 0, 0, null, value);
  }
}
