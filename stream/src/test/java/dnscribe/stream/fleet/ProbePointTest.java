package dnscribe.stream.fleet;

import static org.assertj.core.api.Assertions.assertThat;

import dnscribe.stream.Records;
import dnscribe.stream.kafka.OutputRecord;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

class ProbePointTest {
  /** One round asks each of them, with one time. */
  @Test
  void nameserversOfARoundDoNotReplaceEachOther() {
    Set<String> points = new TreeSet<>();
    for (String server : new String[] {"ns1", "ns2"}) {
      for (String address : new String[] {"192.0.2.1", "2001:db8::1"}) {
        points.add(
            tags(
                """
                "kind":"authority","target":"example.com","nameserver":"%s","address":"%s",\
                "protocol":"udp\""""
                    .formatted(server, address)));
      }
    }
    assertThat(points).hasSize(4);
  }

  @Test
  void resolversWithoutANameAreNoTags() {
    String dns = "\"kind\":\"dns\",\"target\":\"a.example A\",\"protocol\":\"udp\",\"resolver\":";
    String first = point(dns + "\"10.255.255.53\"");
    assertThat(tags(dns + "\"10.255.255.53\"")).doesNotContain("resolver");
    assertThat(first).contains(",address=\"10.255.255.53\"");
    assertThat(tags(dns + "\"2001:db8::53\"")).isNotEqualTo(tags(dns + "\"10.255.255.53\""));
    assertThat(tags(dns + "\"corp\"")).contains(",resolver=corp,");
  }

  /** A web site has many addresses. */
  @Test
  void connectionsToOneTargetAreOneSeries() {
    String http = "\"kind\":\"http\",\"target\":\"https://a.example/\",\"address\":";
    assertThat(tags(http + "\"192.0.2.1\"")).isEqualTo(tags(http + "\"192.0.2.2\""));
  }

  private static String tags(String fields) {
    String point = point(fields);
    return point.substring(0, point.indexOf(" ok="));
  }

  private static String point(String fields) {
    String json = "{\"ts\":\"2026-01-02T03:04:05.5Z\",\"ok\":true," + fields + "}";
    var record = new OutputRecord("dns.probe/1", new byte[0], 0, 1, null, Records.bytes(json));
    return Records.text(ProbePoint.of(record).value());
  }
}
