package dnscribe.stream.enrich;

import static dnscribe.stream.Records.bytes;
import static dnscribe.stream.Records.text;
import static dnscribe.stream.Records.transaction;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.config.Config;
import dnscribe.stream.record.RecordChecker;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileTime;
import java.time.Instant;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class EnrichmentTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private final RecordChecker schema = new RecordChecker("dns.transaction/1");
  private final ZoneTable zones = new ZoneTable();
  private final IntelTable intel = new IntelTable(100);
  @TempDir private Path folder;
  private Path city;
  private GeoDatabases geo;

  @BeforeEach
  void open() throws IOException {
    String data = System.getenv("DNSCRIBE_MMDB");
    assertThat(data).as("DNSCRIBE_MMDB: `cargo xtask test stream` sets it").isNotNull();
    city = Files.copy(Path.of(data, "GeoLite2-City-Test.mmdb"), folder.resolve("city.mmdb"));
    geo = new GeoDatabases(new Config.Geo(city.toString(), data + "/GeoLite2-ASN-Test.mmdb"));
  }

  @Test
  void everyFieldIsUnchangedAndUnknownIsAbsent() throws Exception {
    ObjectNode expected = (ObjectNode) JSON.readTree(transaction(5));
    expected.put("schema", "dns.enriched/1");
    expected.putArray("answers_geo").addObject();
    expected
        .putObject("name")
        .put("label_count", 3)
        .put("longest_label", 7)
        .put("entropy_bits", 0.0)
        .put("class", "words");
    assertThat(enrich(text(transaction(5)))).isEqualTo(expected);
  }

  /** The first two names have equal hashes. */
  @Test
  void rememberedNamesAreOfTheirZone() throws Exception {
    assertThat("anan.example.com".hashCode()).isEqualTo("anc0.example.com".hashCode());
    Enrichment enrichment = new Enrichment(geo, zones, intel);
    for (int round = 0; round < 2; round++) {
      for (String qname : List.of("anan.example.com", "anc0.example.com")) {
        for (String zone : List.of("\"zone\":\"example.com\",", "\"zone\":\"com\",", "")) {
          String record =
              text(transaction(1))
                  .replace("\"zone\":\"example.com\",", zone)
                  .replace("www.example.com", qname);
          assertThat(enrich(enrichment, record).get("name"))
              .as(qname + " " + zone)
              .isEqualTo(enrich(record).get("name"));
        }
      }
    }
  }

  @Test
  void placesAndNetworksOfAddresses() throws Exception {
    JsonNode record =
        enrich(
            text(transaction(1))
                .replace("\"192.0.2.1\"", "\"81.2.69.160\"")
                .replace("\"192.0.2.53\",\"server_port\"", "\"1.128.0.9\",\"server_port\"")
                .replace("\"198.51.100.1\"", "\"2001:220::1\""));
    assertThat(record.get("client_geo").toString())
        .isEqualTo("{\"country\":\"GB\",\"city\":\"London\"}");
    assertThat(record.get("server_geo").toString())
        .isEqualTo("{\"asn\":1221,\"as_org\":\"Telstra Pty Ltd\"}");
    assertThat(record.at("/answers_geo/0/country").asText()).isEqualTo("KR");
  }

  @Test
  void changedDatabaseIsReadAgainAndABrokenOneIsNot() throws Exception {
    String record = text(transaction(1)).replace("\"192.0.2.1\"", "\"81.2.69.160\"");
    Enrichment enrichment = new Enrichment(geo, zones, intel);
    assertThat(enrich(enrichment, record).at("/client_geo/country").asText()).isEqualTo("GB");
    byte[] whole = Files.readAllBytes(city);
    replace(new byte[] {1, 2, 3}, 1);
    geo.reloadChanged();
    assertThat(enrich(enrichment, record).at("/client_geo/country").asText()).isEqualTo("GB");
    // In the data, a text of two bytes begins with a B.
    replace(withoutCode(whole, "GB").getBytes(StandardCharsets.ISO_8859_1), 2);
    geo.reloadChanged();
    assertThat(enrich(enrichment, record).at("/client_geo/country").asText()).isEqualTo("XX");
    assertThatThrownBy(() -> new GeoDatabases(new Config.Geo(folder + "/none.mmdb", null)))
        .hasMessageContaining("enrich.geo: cannot read");
  }

  private static String withoutCode(byte[] database, String code) {
    String all = new String(database, StandardCharsets.ISO_8859_1);
    return all.replace("B" + code, "BXX");
  }

  private void replace(byte[] data, long second) throws IOException {
    Path other = Files.write(folder.resolve("new"), data);
    Files.setLastModifiedTime(other, FileTime.from(Instant.ofEpochSecond(second)));
    Files.move(other, city, StandardCopyOption.REPLACE_EXISTING);
  }

  @Test
  void closestZoneDescribesAName() throws Exception {
    zones.put("com", JSON.readTree("{\"zone\":\"com\",\"owner\":\"registry\"}"));
    zones.put(
        "example.com",
        JSON.readTree("{\"zone\":\"example.com\",\"owner\":\"dns team\",\"tier\":\"1\"}"));
    zones.put("w.example.com", JSON.readTree("{\"zone\":\"w.example.com\",\"unit\":\"w\"}"));
    assertThat(enrich(text(transaction(1))).get("zone_meta").toString())
        .isEqualTo("{\"owner\":\"dns team\",\"tier\":\"1\"}");
    zones.remove("example.com");
    assertThat(enrich(text(transaction(1))).at("/zone_meta/owner").asText()).isEqualTo("registry");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "example.com|domain|example.com",
        "www.example.com|domain|www.example.com",
        "ww.example.com|domain|",
        "w.example.com|domain|",
        "198.51.100.0/24|prefix|198.51.100.0/24",
        "198.51.100.1|prefix|198.51.100.1",
        "198.51.101.0/24|prefix|",
        "192.0.2.1/32|prefix|192.0.2.1/32",
        "::/0|prefix|",
        "target.test|domain|target.test",
      })
  void indicatorsMatchNamesAnswersAndAddresses(String indicator, String kind, String expected)
      throws Exception {
    String answers =
        "\"answers\":[{\"name\":\"www.example.com\",\"type\":\"CNAME\",\"ttl\":1,"
            + "\"data\":\"a.target.test\"},";
    String record = text(transaction(1)).replace("\"answers\":[", answers);
    put(indicator, kind, null);
    JsonNode found = enrich(record).path("intel");
    if (expected == null) {
      assertThat(found.isMissingNode()).isTrue();
    } else {
      assertThat(found.toString())
          .isEqualTo(
              "[{\"indicator\":\"%s\",\"kind\":\"%s\",\"category\":\"c2\",\"source\":\"list\",\"confidence\":80}]"
                  .formatted(expected, kind));
    }
    intel.remove(indicator);
    assertThat(enrich(record).has("intel")).isFalse();
    assertThat(intel.size()).isZero();
  }

  @Test
  void longestPrefixThatIsValidMatches() throws Exception {
    put("198.51.0.0/16", "prefix", null);
    put("198.51.100.0/24", "prefix", "2026-01-02T03:04:06Z");
    put("198.51.100.1", "prefix", "2026-01-02T03:04:05Z");
    assertThat(enrich(text(transaction(1))).at("/intel/0/indicator").asText())
        .isEqualTo("198.51.100.0/24");
  }

  @Test
  void fullTableLeavesOutWhatHasExpired() throws Exception {
    IntelTable small = new IntelTable(2);
    small.put("a.test", indicator("a.test", "domain", "2020-01-01T00:00:00Z"));
    small.put("192.0.2.0/24", indicator("192.0.2.0/24", "prefix", null));
    small.put("b.test", indicator("b.test", "domain", null));
    small.put("c.test", indicator("c.test", "domain", null));
    StringBuilder found = new StringBuilder();
    for (String name : new String[] {"a.test", "b.test", "c.test"}) {
      small.findName(name, "2019-01-01T00:00:00Z", (text, details) -> found.append(text));
    }
    assertThat(found).hasToString("b.test");
  }

  private void put(String indicator, String kind, String validUntil) throws Exception {
    intel.put(indicator, indicator(indicator, kind, validUntil));
  }

  private static JsonNode indicator(String indicator, String kind, String validUntil) {
    ObjectNode record = JSON.createObjectNode();
    record.put("indicator", indicator).put("kind", kind).put("category", "c2");
    record.put("source", "list").put("confidence", 80);
    if (validUntil != null) {
      record.put("valid_until", validUntil);
    }
    return record;
  }

  private JsonNode enrich(String transaction) throws Exception {
    return enrich(new Enrichment(geo, zones, intel), transaction);
  }

  private JsonNode enrich(Enrichment enrichment, String transaction) throws Exception {
    return JSON.readTree(enrichment.enrich(schema.check(bytes(transaction))));
  }
}
