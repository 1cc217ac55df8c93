package dnscribe.stream;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.node.TextNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Random;

/** Damages valid records as disks, other programs and attackers do; the same way in each run. */
public final class Damage {
  private static final ObjectMapper JSON = new ObjectMapper();

  /** Values of any field, as JSON: extreme, of another type, or with a meaning elsewhere. */
  private static final List<String> VALUES =
      List.of(
          "null",
          "0",
          "-1",
          "256",
          "65536",
          "4294967303",
          "8796093022208",
          "9223372036854775808",
          "18446744073709551625",
          "9".repeat(400),
          "1e999",
          "-1e308",
          "5e-324",
          "\"\"",
          "\"\\ud800\"",
          "\"\\u0000\\t\\n\"",
          "\"\\\\1x.\\\\25\"",
          "\"" + "a".repeat(300) + "\"",
          "\"" + ".".repeat(300) + "\"",
          "\"1600-01-01T00:00:00Z\"",
          "\"9999-12-31T23:59:59.999999999Z\"",
          "\"::ffff:1.2.3.4/129\"",
          "\"AAAA\"",
          "[]",
          "[[]]",
          "{}",
          "true");

  private final Random random;

  /** Creates what does the same damage for the same {@code seed}. */
  public Damage(long seed) {
    random = new Random(seed);
  }

  /** Returns the records of a golden file that have this schema. */
  public static List<byte[]> goldens(String file, String schema) throws IOException {
    List<byte[]> records = new ArrayList<>();
    for (String line : Files.readAllLines(Path.of("..", "tests", "goldens", file))) {
      if (line.contains("\"schema\":\"" + schema + "\"")) {
        records.add(line.getBytes(StandardCharsets.UTF_8));
      }
    }
    if (records.isEmpty()) {
      throw new IllegalStateException("no " + schema + " in " + file);
    }
    return records;
  }

  /** Returns one of these. */
  public <T> T one(List<T> several) {
    return several.get(random.nextInt(several.size()));
  }

  /** Returns a copy with bytes changed, cut off or added. */
  public byte[] bytes(byte[] whole) {
    int kind = random.nextInt(4);
    if (kind == 0) {
      return Arrays.copyOf(whole, random.nextInt(whole.length));
    }
    if (kind == 1) {
      return Arrays.copyOf(whole, whole.length + 1 + random.nextInt(20));
    }
    byte[] changed = whole.clone();
    for (int i = random.nextInt(3); i >= 0; i--) {
      // Lengths and counts are at the beginning.
      int end = random.nextBoolean() ? Math.min(32, changed.length) : changed.length;
      int value = random.nextInt(4) == 0 ? -random.nextInt(2) : random.nextInt(256);
      changed[random.nextInt(end)] = (byte) value;
    }
    return changed;
  }

  /** Returns a record in JSON with a value changed, a field removed, its encoding or its bytes. */
  public byte[] json(byte[] record) throws IOException {
    switch (random.nextInt(8)) {
      case 0 -> {
        return bytes(record);
      }
      case 1 -> {
        var charset =
            one(
                List.of(
                    StandardCharsets.UTF_16,
                    StandardCharsets.UTF_16LE,
                    StandardCharsets.UTF_16BE,
                    StandardCharsets.ISO_8859_1));
        String text = new String(record, StandardCharsets.UTF_8).replace("example", "\u00e4\u2603");
        return (random.nextBoolean() ? "\ufeff" + text : text).getBytes(charset);
      }
      default -> {
        JsonNode tree = JSON.readTree(record);
        String placeholder = "placeholder-of-a-value";
        change(tree, placeholder);
        return tree.toString()
            .replace('"' + placeholder + '"', one(VALUES))
            .getBytes(StandardCharsets.UTF_8);
      }
    }
  }

  private void change(JsonNode tree, String placeholder) {
    List<Runnable> changes = new ArrayList<>();
    collect(tree, placeholder, changes);
    one(changes).run();
  }

  private void collect(JsonNode node, String placeholder, List<Runnable> changes) {
    if (node instanceof ArrayNode array) {
      for (int i = 0; i < array.size(); i++) {
        int index = i;
        changes.add(() -> array.set(index, TextNode.valueOf(placeholder)));
        collect(array.get(i), placeholder, changes);
      }
    }
    for (var field : node.properties()) {
      ObjectNode object = (ObjectNode) node;
      changes.add(() -> object.put(field.getKey(), placeholder));
      changes.add(() -> object.remove(field.getKey()));
      collect(field.getValue(), placeholder, changes);
      if (isBytes(field.getKey(), field.getValue().asText())) {
        byte[] sketch = Base64.getDecoder().decode(field.getValue().asText());
        for (int weight = 0; weight < 4; weight++) {
          changes.add(() -> object.put(field.getKey(), bytes(sketch)));
        }
      }
    }
    if (node instanceof ObjectNode object) {
      changes.add(() -> object.put("name", placeholder));
    }
  }

  private static boolean isBytes(String name, String value) {
    boolean isSketch = List.of("sketch", "qnames", "zones", "clients", "processes").contains(name);
    return isSketch && value.length() > 8 && value.length() % 4 == 0;
  }
}
