package dnscribe.stream.detect;

import static dnscribe.stream.detect.Detection.BASE;
import static dnscribe.stream.detect.Detection.MINUTE;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class WindowRulesTest {
  private static final String RESOLVER = "resolver=192.0.2.53,vantage=client";
  private static final String ZONE = "vantage=client,zone=example.com";

  @Test
  void resolverThatFailsForSeveralNodesIsOneAlert() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 40; minute++) {
        boolean fails = minute >= 20 && minute < 25;
        for (int node = 1; node <= 4; node++) {
          long failed = fails && node <= 3 ? 90 : 1;
          detection.cell(resolver(minute, node, 100, failed, 5));
        }
        if (minute == 20) {
          detection.change(at(5), Detection.fields().put("service", "192.0.2.53"));
          detection.change(at(6), Detection.fields().put("service", "another"));
          detection.nodeAlert(at(20), Detection.fields().put("resolver", "192.0.2.53"));
          detection.nodeAlert(at(20), Detection.fields().put("resolver", "192.0.2.54"));
        }
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts())
          .containsExactly(
              "resolver_failing " + RESOLVER + " critical firing",
              "resolver_failing " + RESOLVER + " critical resolved");
      JsonNode alert = detection.alerts.get(0);
      assertThat(alert.path("scope").asText()).isEqualTo("fleet");
      assertThat(alert.path("nodes"))
          .extracting(JsonNode::asText)
          .containsExactly("n1", "n2", "n3");
      assertThat(alert.path("changes")).hasSize(1);
      assertThat(alert.at("/changes/0/service").asText()).isEqualTo("192.0.2.53");
      assertThat(alert.path("suppressed_alerts")).hasSize(1);
      assertThat(alert.path("suppressed").asInt()).isEqualTo(1);
      assertThat(alert.path("started").asText()).isEqualTo(Instant.ofEpochMilli(at(21)).toString());
      assertThat(alert.path("runbook").asText())
          .isEqualTo(
              "https://github.com/dnscribe/dnscribe/blob/main/docs/runbooks/resolver-failing.md");
    }
  }

  @Test
  void failuresOfOneNodeOrOfFewQueriesAreNoFleetAlert() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 30; minute++) {
        detection.cell(resolver(minute, 1, 100, 100, 5));
        detection.cell(resolver(minute, 2, 100, 9, 5));
        detection.cell(resolver(minute, 3, 4, 4, 5));
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts()).isEmpty();
    }
  }

  @Test
  void twoOfManyNodesAreNoFleetAlert() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 15; minute++) {
        for (int node = 0; node < 50; node++) {
          detection.cell(resolver(minute, node, 100, node < 2 ? 90 : 0, 5));
        }
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts()).isEmpty();
    }
  }

  @Test
  void resolverThatIsSlowForSeveralNodes() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 100; minute++) {
        // The rule has learned after an hour; what is slow before is not judged.
        boolean slow = (minute >= 20 && minute < 24) || (minute >= 80 && minute < 90);
        // The first node is far away, and always was.
        detection.cell(resolver(minute, 1, 100, 0, 180));
        detection.cell(resolver(minute, 2, 100, 0, slow ? 90 : 10));
        detection.cell(resolver(minute, 3, 100, 0, slow ? 120 : 12));
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts())
          .containsExactly(
              "resolver_slow " + RESOLVER + " warning firing",
              "resolver_slow " + RESOLVER + " warning resolved");
      assertThat(detection.alerts.get(0).path("nodes"))
          .extracting(JsonNode::asText)
          .containsExactly("n2", "n3");
    }
  }

  @Test
  void slownessOfOneNodeOrOfMillisecondsIsNoFleetAlert() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 100; minute++) {
        boolean slow = minute >= 70;
        detection.cell(resolver(minute, 1, 100, 0, slow ? 300 : 10));
        detection.cell(resolver(minute, 2, 100, 0, slow ? 4 : 1));
        detection.cell(resolver(minute, 3, 100, 0, slow ? 4 : 1));
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts()).isEmpty();
    }
  }

  @Test
  void zoneFailsEverywhereOrAtOneSite() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 40; minute++) {
        for (String site : List.of("eu", "us", "ap")) {
          boolean everywhere = minute >= 5 && minute < 8;
          boolean here = minute >= 20 && minute < 23 && site.equals("us");
          long failed = everywhere || here ? 50 : 0;
          detection.cell(zone(minute, "example.com", site, 60, failed, 0));
        }
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts())
          .containsExactly(
              "zone_failing " + ZONE + " critical firing",
              "zone_failing " + ZONE + " critical resolved",
              "zone_failing_site site=us," + ZONE + " warning firing",
              "zone_failing_site site=us," + ZONE + " warning resolved");
    }
  }

  @Test
  void zoneThatAlwaysFailsALittleOrIsAskedAtOneSiteIsNoAlert() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 40; minute++) {
        for (String site : List.of("eu", "us")) {
          detection.cell(zone(minute, "example.com", site, 60, 15 + minute % 5, 0));
        }
        detection.cell(zone(minute, "example.net", "eu", 60, 60, 0));
        detection.cell(zone(minute, "example.net", "us", 2, 2, 0));
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts()).isEmpty();
    }
  }

  @Test
  void resolverExplainsItsZones() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 20; minute++) {
        long failed = minute >= 10 ? 45 : 0;
        for (String site : List.of("eu", "us")) {
          detection.cell(zone(minute, "example.com", site, 50, failed, 0));
          detection.cell(zone(minute, "example.net", site, 50, failed, 0));
          String node = "n-" + site;
          detection.cell(
              Detection.resolver(BASE + minute * MINUTE, node, site, 100, 2 * failed, 5));
        }
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts())
          .containsOnly("resolver_failing " + RESOLVER + " critical firing");
      assertThat(detection.alerts.get(0).path("suppressed").asInt()).isEqualTo(2);
    }
  }

  @Test
  void zoneExplainsItsResolver() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 20; minute++) {
        long failed = minute >= 10 ? 80 : 0;
        for (String site : List.of("eu", "us")) {
          detection.cell(zone(minute, "example.com", site, 80, failed, 0));
          String node = "n-" + site;
          detection.cell(
              Detection.resolver(BASE + minute * MINUTE, node, site, 400, failed + 2, 5));
        }
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts()).containsOnly("zone_failing " + ZONE + " critical firing");
    }
  }

  @Test
  void manyZonesThatFailAtOneSiteAreOneAlert() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 12; minute++) {
        for (int number = 0; number < 6; number++) {
          for (String site : List.of("eu", "us")) {
            long failed = minute >= 10 && site.equals("us") ? 50 : 0;
            detection.cell(zone(minute, "z" + number + ".example", site, 60, failed, 0));
          }
        }
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts())
          .containsExactly("zone_failing_site site=us,vantage=client warning firing");
    }
  }

  @Test
  void nxdomainAndRateFarFromTheirBaseline() throws Exception {
    try (Detection detection = new Detection(Detection.quick())) {
      for (int minute = 0; minute < 150; minute++) {
        // The rule has learned after an hour; what is denied before is not judged.
        boolean denied = (minute >= 30 && minute < 34) || (minute >= 100 && minute < 106);
        boolean flood = minute >= 120 && minute < 126;
        long queries = flood ? 6_000 : 600 + minute % 7 * 10;
        detection.cell(zone(minute, "example.com", "eu", queries, 0, denied ? 400 : queries / 20));
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts())
          .containsExactly(
              "zone_nxdomain " + ZONE + " warning firing",
              "zone_nxdomain " + ZONE + " warning resolved",
              "zone_query_rate " + ZONE + " warning firing",
              "zone_query_rate " + ZONE + " warning resolved");
    }
  }

  @Test
  void smallChangesOfNxdomainAndRateAreNoAlerts() throws Exception {
    try (Detection detection = new Detection(Detection.quick())) {
      for (int minute = 0; minute < 150; minute++) {
        // Twice the rate, and ten points more NXDOMAIN.
        long queries = minute < 100 ? 600 : 1_200;
        detection.cell(
            zone(minute, "example.com", "eu", queries, 0, queries / (minute < 100 ? 20 : 7)));
        // One query instead of none.
        detection.cell(zone(minute, "example.net", "eu", minute < 100 ? 1 : 40, 0, 0));
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts()).isEmpty();
    }
  }

  @Test
  void zoneThatIsNotQueriedAnyMoreIsInformation() throws Exception {
    try (Detection detection = new Detection(Detection.quick())) {
      for (int minute = 0; minute < 120; minute++) {
        if (minute < 100) {
          detection.cell(zone(minute, "example.com", "eu", 900, 0, 0));
        }
        // Another zone of this fleet goes on, so time does.
        detection.cell(zone(minute, "example.net", "eu", 900, 0, 0));
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts()).contains("zone_query_rate " + ZONE + " info firing");
    }
  }

  @Test
  void maintenanceMutes() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      String ends = Instant.ofEpochMilli(at(15)).toString();
      var maintenance =
          Detection.fields()
              .put("kind", "maintenance")
              .put("zone", "example.com")
              .put("ends", ends);
      detection.change(at(2), maintenance);
      for (int minute = 0; minute < 20; minute++) {
        long failed = minute >= 5 ? 60 : 0;
        detection.cell(zone(minute, "example.com", "eu", 60, failed, 0));
        detection.cell(zone(minute, "example.com", "us", 60, failed, 0));
        detection.advance(at(minute + 1));
      }
      // What holds at its end is written then, with its true start.
      assertThat(detection.texts()).containsExactly("zone_failing " + ZONE + " critical firing");
      JsonNode alert = detection.alerts.get(0);
      assertThat(alert.path("ts").asText()).isEqualTo(ends);
      assertThat(alert.path("started").asText()).isEqualTo(Instant.ofEpochMilli(at(6)).toString());
    }
  }

  @Test
  void lateCellsAreCountedAndIgnored() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      detection.cell(zone(0, "example.com", "eu", 60, 60, 0));
      detection.advance(at(1));
      detection.cell(zone(0, "example.com", "us", 60, 60, 0));
      detection.advance(at(2));
      assertThat(detection.texts()).isEmpty();
      assertThat(detection.counter("detect/late")).isEqualTo(1);
    }
  }

  @Test
  void cellsOfAnotherDayInTheFutureAreCountedAndIgnored() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      long tomorrow = Detection.NOW + Detection.DAY;
      for (long start : new long[] {tomorrow, tomorrow + MINUTE, Long.MAX_VALUE - MINUTE}) {
        detection.cell(
            new Cell(
                Detectors.ZONE,
                start,
                ZoneDetector.entity("example.com", "client"),
                NodeStats.name("eu", "n1", null),
                new long[NodeStats.LENGTH]));
      }
      assertThat(detection.counter("detect/cells")).isEqualTo(3);
      assertThat(detection.counter("detect/ahead")).isEqualTo(2);
    }
  }

  @Test
  void tenThousandNodes() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 4; minute++) {
        for (int node = 0; node < 10_000; node++) {
          long failed = minute == 3 && node % 2 == 0 ? 80 : 0;
          detection.cell(
              Detection.resolver(
                  BASE + minute * MINUTE, "n" + node, "s" + node % 20, 100, failed, 5));
          for (int number = 0; number < 9; number++) {
            detection.cell(zone(minute, "z" + number + ".example", "s" + node, 10, 0, 0));
          }
        }
        detection.advance(at(minute + 1));
      }
      assertThat(detection.counter("detect/overflow")).isZero();
      assertThat(detection.texts())
          .containsExactly("resolver_failing " + RESOLVER + " critical firing");
      assertThat(detection.alerts.get(0).path("nodes")).hasSize(Finding.EXAMPLES);
    }
  }

  @Test
  void entitiesAreBounded() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 3; minute++) {
        for (int number = 0; number < 60_000; number++) {
          String zone = "z" + (minute == 0 ? 0 : minute * 60_000 + number) + ".example";
          detection.cell(zone(minute, zone, "eu", 1, 0, 0));
        }
        detection.advance(at(minute + 1));
      }
      assertThat(detection.counter("detect/evicted")).isPositive();
      assertThat(detection.counter("detect/refused")).isPositive();
    }
  }

  @Test
  void steadyDaysAndWeeksHaveNoAlerts() throws Exception {
    try (Detection detection = new Detection(Detection.quick())) {
      Random random = new Random(1);
      for (int minute = 0; minute < 10 * 24 * 60; minute++) {
        double day = Math.sin(2 * Math.PI * minute / (24 * 60));
        boolean weekend = minute / (24 * 60) % 7 >= 5;
        double mean = 1_000 * Math.exp(day) * (weekend ? 0.5 : 1);
        long queries = Math.round(mean + random.nextGaussian() * Math.sqrt(mean) * 2);
        detection.cell(zone(minute, "example.com", "eu", queries, queries / 200, queries / 10));
        detection.cell(zone(minute, "example.com", "us", queries / 3, queries / 500, queries / 40));
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts()).isEmpty();
    }
  }

  private static Cell resolver(int minute, int node, long queries, long failed, double medianMs) {
    return Detection.resolver(BASE + minute * MINUTE, "n" + node, null, queries, failed, medianMs);
  }

  private static Cell zone(
      int minute, String zone, String site, long queries, long failed, long nxdomain) {
    return Detection.zone(
        BASE + minute * MINUTE, zone, "n-" + site, site, queries, failed, nxdomain);
  }

  private static long at(int minute) {
    return BASE + minute * MINUTE;
  }
}
