package dnscribe.stream.enrich;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.Records;
import dnscribe.stream.config.Config;
import dnscribe.stream.record.RecordChecker;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Values that an agent has masked are not taken for real ones. */
class MaskedEnrichmentTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private final RecordChecker schema = new RecordChecker("dns.transaction/1");
  private final IntelTable intel = new IntelTable(100);
  private ObjectNode record;

  @BeforeEach
  void read() throws Exception {
    record = (ObjectNode) JSON.readTree(Records.transaction(1));
  }

  @ParameterizedTest
  @CsvSource({
    "hash, 9f86d081884c7d659a2feaa0c55ad015",
    "truncate, example.com",
    "drop, ''",
  })
  void aMaskedNameIsNotLookedAt(String how, String qname) throws Exception {
    record.put("qname", qname).putObject("masking").put("qname", how);
    assertThat(enrich().has("name")).isFalse();
  }

  @Test
  void aNameIsLookedAtWhereClientsAreMasked() throws Exception {
    record.putObject("masking").put("client", "hash");
    assertThat(enrich().has("name")).isTrue();
  }

  @ParameterizedTest
  @CsvSource({
    "client, client_ip, truncate, 203.0.113.0, 203.0.113.0, false",
    "client, client_ip, truncate, 203.0.113.0, 203.0.113.0/25, false",
    "client, client_ip, truncate, 203.0.113.0, 203.0.113.0/24, true",
    "client, client_ip, truncate, 203.0.113.0, 203.0.0.0/16, true",
    "server, server_ip, truncate, 2001:db8:1::, 2001:db8:1::/64, false",
    "server, server_ip, truncate, 2001:db8:1::, 2001:db8:1::/48, true",
    "server, server_ip, truncate, 2002:cb00:7100::, 2002:cb00:7100::/48, false",
    "server, server_ip, truncate, 2002:cb00:7100::, 2002:cb00:7100::/40, true",
    "server, server_ip, hash, 100::1, 100::/64, false",
    "server, server_ip, drop, ::, ::/0, false",
    "answers, /answers/0, truncate, 198.51.100.0, 198.51.100.0, false",
    "answers, /answers/0, truncate, 198.51.100.0, 198.51.100.0/24, true",
    "answers, /answers/0, hash, 100::1, 100::/8, false",
  })
  void addressesMatchAsFarAsTheyAreKnown(
      String masked, String place, String how, String address, String prefix, boolean matches)
      throws Exception {
    if (place.startsWith("/")) {
      ((ObjectNode) record.at(place)).put("data", address);
    } else {
      record.put(place, address);
    }
    ObjectNode indicator = JSON.createObjectNode().put("indicator", prefix).put("kind", "prefix");
    intel.put(prefix, indicator);
    assertThat(enrich().has("intel")).as("not masked").isTrue();
    record.putObject("masking").put(masked, how);
    assertThat(enrich().has("intel")).isEqualTo(matches);
  }

  private JsonNode enrich() throws Exception {
    GeoDatabases geo = new GeoDatabases(new Config.Geo(null, null));
    Enrichment enrichment = new Enrichment(geo, new ZoneTable(), intel);
    return JSON.readTree(enrichment.enrich(schema.check(Records.bytes(record.toString()))));
  }
}
