package dnscribe.stream.store;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The tables of events in ClickHouse have the fields of their records, in their order. */
class EventColumnsTest {
  private static final Pattern COLUMN = Pattern.compile("(?m)^    `(\\w+)` (\\S+)");
  private static final Pattern ADDED =
      Pattern.compile("(?m)^    ADD COLUMN IF NOT EXISTS `(\\w+)` .* AFTER (\\w+)[,;]$");
  private static final Pattern MEMBER = Pattern.compile("[(,] ?(\\w+) \\w");

  @ParameterizedTest
  @CsvSource({
    "dns.alert-1, 005_alerts,",
    "dns.use-1, 007_uses, 013_use_times",
    "dns.lookup-1, 010_lookups,",
    "dns.connection-1, 011_connections,"
  })
  void columnsAreTheFieldsOfTheRecord(String name, String migration, String later)
      throws Exception {
    JsonNode schema = new ObjectMapper().readTree(resource("/schemas/" + name + ".json"));
    List<String> fields = new ArrayList<>();
    schema.path("properties").fieldNames().forEachRemaining(fields::add);
    fields.remove("schema");
    String script = migration(migration);
    List<String> columns = new ArrayList<>();
    Matcher column = COLUMN.matcher(script);
    while (column.find()) {
      columns.add(column.group(1));
      JsonNode field = schema.path("properties").path(column.group(1));
      String reference = field.path("$ref").asText(field.path("items").path("$ref").asText());
      if (!reference.isEmpty()) {
        String type = reference.substring(reference.lastIndexOf('/') + 1);
        List<String> parts = new ArrayList<>();
        schema
            .path("$defs")
            .path(type)
            .path("properties")
            .fieldNames()
            .forEachRemaining(parts::add);
        String line = script.substring(column.start(), script.indexOf(" CODEC", column.start()));
        assertThat(MEMBER.matcher(line).results().map(member -> member.group(1))).isEqualTo(parts);
      }
    }
    if (later != null) {
      Matcher added = ADDED.matcher(migration(later));
      while (added.find()) {
        columns.add(columns.indexOf(added.group(2)) + 1, added.group(1));
      }
    }
    // The event id is the first column of every table, as in the record.
    assertThat(columns).isEqualTo(fields);
  }

  private static String migration(String name) throws Exception {
    return new String(resource("/stores/clickhouse/" + name + ".sql"), StandardCharsets.UTF_8);
  }

  private static byte[] resource(String name) throws Exception {
    try (InputStream stream = EventColumnsTest.class.getResourceAsStream(name)) {
      return stream.readAllBytes();
    }
  }
}
