package dnscribe.stream.detect;

import static dnscribe.stream.detect.Detection.BASE;
import static dnscribe.stream.detect.Detection.DAY;
import static dnscribe.stream.detect.Detection.HOUR;
import static dnscribe.stream.detect.Detection.MINUTE;
import static dnscribe.stream.detect.Detection.answer;
import static dnscribe.stream.detect.Detection.fields;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.function.LongFunction;
import org.junit.jupiter.api.Test;

class AnswerRulesTest {
  private static final long SPAN = 5 * MINUTE;
  private static final String OLD = "198.51.100.1";
  private static final String NEW = "203.0.113.9";

  @Test
  void siteWithOtherAnswersForLongerThanTheTtl() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      long change = BASE + 12 * HOUR;
      answers(detection, 16 * HOUR, start -> start < change ? OLD : NEW, start -> OLD, 600);
      assertThat(detection.texts())
          .containsExactly("answer_drift site=us,zone=example.com warning firing");
      JsonNode alert = detection.alerts.get(0);
      // Ten minutes of the TTL and five more: until then caches may differ.
      assertThat(alert.path("ts").asText()).isEqualTo("2026-01-05T12:15:00Z");
      assertThat(alert.at("/qnames/0").asText()).isEqualTo("www.example.com");
    }
  }

  @Test
  void driftThatEndsIsResolvedAndAnnouncedDriftIsInformation() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      long from = BASE + 12 * HOUR;
      long until = from + 2 * HOUR;
      detection.change(
          from - 10 * MINUTE, fields().put("kind", "zone_change").put("zone", "example.com"));
      answers(
          detection,
          16 * HOUR,
          start -> start < from ? OLD : NEW,
          start -> start < until ? OLD : NEW,
          600);
      assertThat(detection.texts())
          .containsExactly(
              "answer_drift site=us,zone=example.com info firing",
              "answer_drift site=us,zone=example.com info resolved");
      assertThat(detection.alerts.get(0).at("/changes/0/kind").asText()).isEqualTo("zone_change");
    }
  }

  @Test
  void changesWithinTheTtlAndGeographicAnswersAreNoDrift() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      long change = BASE + 12 * HOUR;
      answers(
          detection,
          16 * HOUR,
          start -> start < change ? OLD : NEW,
          start -> start < change + 10 * MINUTE ? OLD : NEW,
          600);
      assertThat(detection.texts()).isEmpty();
    }
    try (Detection detection = new Detection(Detection.defaults())) {
      answers(
          detection,
          16 * HOUR,
          start -> "198.51." + start / SPAN % 3 + ".1",
          start -> "203.0." + start / SPAN % 4 + ".1",
          60);
      assertThat(detection.texts()).isEmpty();
    }
  }

  @Test
  void siteWhoseTtlIsCapped() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (long start = BASE; start < BASE + 14 * HOUR; start += SPAN) {
        for (int query = 0; query < 10; query++) {
          long ttl = 3_600L - query * 300L;
          boolean capped = start >= BASE + 8 * HOUR;
          detection.enriched(start + query, answer("eu", OLD, ttl));
          detection.enriched(start + query, answer("ap", OLD, ttl));
          detection.enriched(start + query, answer("us", OLD, capped ? Math.min(ttl, 900) : ttl));
        }
        detection.advance(start + SPAN);
      }
      assertThat(detection.texts())
          .containsExactly("answer_drift site=us,zone=example.com info firing");
      assertThat(detection.alerts.get(0).path("summary").asText())
          .isEqualTo("us gets a TTL of 900 s for www.example.com A, other sites 3600 s.");
    }
  }

  @Test
  void otherAddressesAndTtlAtOnce() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      long from = BASE + 30 * HOUR;
      long until = from + 2 * HOUR;
      for (long start = BASE; start < BASE + 34 * HOUR; start += SPAN) {
        boolean taken = start >= from && start < until;
        for (int query = 0; query < 4; query++) {
          String site = query % 2 == 0 ? "eu" : "us";
          detection.enriched(start + query, answer(site, taken ? NEW : OLD, taken ? 60 : 3_600));
        }
        detection.advance(start + SPAN);
      }
      assertThat(detection.texts())
          .containsExactly(
              "zone_hijack zone=example.com critical firing",
              "zone_hijack zone=example.com critical resolved");
      assertThat(detection.alerts.get(0).at("/answers/0").asText()).isEqualTo("203.0.113.0/24");
    }
  }

  @Test
  void otherAddressesOrOtherTtlAloneIsNoTakeover() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (long start = BASE; start < BASE + 50 * HOUR; start += SPAN) {
        String address = start < BASE + 30 * HOUR ? OLD : NEW;
        long ttl = start < BASE + 40 * HOUR ? 3_600 : 60;
        for (int query = 0; query < 4; query++) {
          detection.enriched(start + query, answer("eu", address, ttl));
        }
        detection.advance(start + SPAN);
      }
      assertThat(detection.texts()).isEmpty();
    }
  }

  @Test
  void resolverThatDoesNotValidate() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (long start = BASE; start < BASE + HOUR; start += SPAN) {
        boolean broken = start < BASE + 20 * MINUTE;
        for (int query = 0; query < 4; query++) {
          detection.enriched(start + query, dnssec("192.0.2.1", "NOERROR", true));
          detection.enriched(start + query, dnssec("192.0.2.2", "NOERROR", true));
          detection.enriched(start + query, dnssec("192.0.2.3", "NOERROR", !broken));
          detection.enriched(
              start + query, dnssec("192.0.2.4", broken ? "SERVFAIL" : "NOERROR", !broken));
        }
        detection.advance(start + SPAN);
      }
      assertThat(detection.texts())
          .containsExactly(
              "dnssec_disagreement resolver=192.0.2.3 info firing",
              "dnssec_disagreement resolver=192.0.2.4 warning firing",
              "dnssec_disagreement resolver=192.0.2.3 info resolved",
              "dnssec_disagreement resolver=192.0.2.4 warning resolved");
    }
  }

  @Test
  void brokenSignaturesAreAProblemOfTheZone() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int query = 0; query < 4; query++) {
        detection.enriched(BASE + query, dnssec("192.0.2.1", "SERVFAIL", false));
        detection.enriched(BASE + query, dnssec("192.0.2.2", "NOERROR", false));
      }
      detection.advance(BASE + SPAN);
      assertThat(detection.texts())
          .containsExactly("dnssec_disagreement zone=example.com warning firing");
    }
  }

  @Test
  void singleServfailAndUnsignedZonesAreNoDisagreement() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int query = 0; query < 4; query++) {
        detection.enriched(BASE + query, dnssec("192.0.2.1", "NOERROR", false));
        detection.enriched(BASE + query, dnssec("192.0.2.2", "NOERROR", false));
      }
      detection.enriched(BASE, dnssec("192.0.2.3", "SERVFAIL", false));
      // Without the DO bit, AD says nothing.
      ObjectNode plain = dnssec("192.0.2.4", "NOERROR", true);
      plain.remove("edns");
      for (int query = 0; query < 4; query++) {
        detection.enriched(BASE + query, plain);
      }
      detection.advance(BASE + SPAN);
      assertThat(detection.texts()).isEmpty();
    }
  }

  @Test
  void networkThatFansOut() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (long start = BASE; start < BASE + 4 * HOUR; start += SPAN) {
        boolean scans = start >= BASE + 2 * HOUR && start < BASE + 3 * HOUR;
        for (int node = 0; node < 20; node++) {
          // A large resolver asks all nodes always, an office three, a container network each.
          detection.enriched(start, client(node, "192.0.2.77"));
          detection.enriched(start, client(node, "172.17.0.2"));
          if (node < 3 || scans) {
            detection.enriched(start, client(node, "198.51.100.7"));
          }
        }
        detection.advance(start + SPAN);
      }
      assertThat(detection.texts())
          .containsExactly(
              "client_fanout client_ip=198.51.100.0/24 warning firing",
              "client_fanout client_ip=198.51.100.0/24 warning resolved");
      assertThat(detection.alerts.get(0).path("nodes")).hasSize(20);
    }
  }

  @Test
  void countryThatAZoneNeverHad() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (long start = BASE; start < BASE + 9 * DAY; start += SPAN) {
        for (int query = 0; query < 3; query++) {
          detection.enriched(start, source("DE", "64496"));
        }
        // A few queries at once from elsewhere, one more country within the learning period.
        if (start == BASE + 2 * DAY) {
          detection.enriched(start, source("FR", "64497"));
        }
        if (start >= BASE + 8 * DAY && start < BASE + 8 * DAY + HOUR) {
          for (int query = 0; query < 10; query++) {
            detection.enriched(start, source("BR", "64499"));
          }
          detection.enriched(start, source("FR", "64497"));
        }
        if (start == BASE + 8 * DAY) {
          detection.enriched(start, source("JP", "64498"));
        }
        detection.advance(start + SPAN);
      }
      assertThat(detection.texts())
          .containsExactly(
              "zone_new_source zone=example.com warning firing",
              "zone_new_source zone=example.com warning resolved");
      assertThat(detection.alerts.get(0).path("sources"))
          .extracting(JsonNode::asText)
          .containsExactly("AS64499", "BR");
    }
  }

  @Test
  void zoneThatAlwaysHasNewNetworksIsNoAlert() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      int network = 0;
      for (long start = BASE; start < BASE + 9 * DAY; start += SPAN) {
        network += start % (12 * HOUR) == 0 ? 1 : 0;
        for (int query = 0; query < 3; query++) {
          detection.enriched(start, source("DE", String.valueOf(64_496 + network)));
        }
        detection.advance(start + SPAN);
      }
      assertThat(detection.texts()).isEmpty();
    }
  }

  /** Sends three answers a span from the sites ap and eu, and from us. */
  private static void answers(
      Detection detection,
      long length,
      LongFunction<String> others,
      LongFunction<String> us,
      long ttl)
      throws Exception {
    for (long start = BASE; start < BASE + length; start += SPAN) {
      for (int query = 0; query < 3; query++) {
        for (String site : List.of("ap", "eu")) {
          detection.enriched(start + query, answer(site, others.apply(start), ttl));
        }
        detection.enriched(start + query, answer("us", us.apply(start), ttl));
      }
      detection.advance(start + SPAN);
    }
  }

  private static ObjectNode dnssec(String resolver, String rcode, boolean validated) {
    ObjectNode fields = fields().put("resolver", resolver).put("rcode", rcode);
    fields.putArray("flags").add(validated ? "ad" : "ra");
    fields.putObject("edns").put("udp_size", 1232).put("do", true);
    return fields;
  }

  private static ObjectNode client(int node, String address) {
    return fields().put("node", "n" + node).put("vantage", "server").put("client_ip", address);
  }

  private static ObjectNode source(String country, String asn) {
    ObjectNode fields = fields().put("vantage", "server").put("client_ip", "192.0.2.1");
    fields.putObject("client_geo").put("country", country).put("asn", Integer.parseInt(asn));
    return fields;
  }
}
