package dnscribe.stream.detect;

import static dnscribe.stream.detect.Detection.BASE;
import static dnscribe.stream.detect.Detection.HOUR;
import static dnscribe.stream.detect.Detection.MINUTE;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

/** Probes' alerts beside the windows of their zone, and in other alerts of the fleet. */
class ServiceImpactTest {
  private static final String ENTITY = "service_impact service=shop,zone=example.com";

  /**
   * A verdict in minute 21, repeated and at last resolved, beside failures from minute 20 to 25.
   */
  private static List<JsonNode> play(int parallelism, int restartMinute, long probeDelay)
      throws Exception {
    List<JsonNode> alerts = new ArrayList<>();
    Detection detection = new Detection(Detection.defaults(), parallelism, null);
    for (int minute = 0; minute < 45; minute++) {
      for (String node : List.of("n1", "n2")) {
        long failed = minute >= 20 && minute < 25 ? 40 : 1;
        detection.cell(zone(minute, node, 100, failed, 5));
      }
      if (minute == 21 || minute == 28) {
        detection.probeAlert(at(minute) + 30_000 + probeDelay, Detection.fields());
      }
      if (minute == 34) {
        detection.probeAlert(at(34) + 30_000, Detection.fields().put("state", "resolved"));
      }
      detection.advance(at(minute + 1));
      if (minute == restartMinute) {
        Detection.Savepoint savepoint = detection.savepoint();
        alerts.addAll(detection.alerts);
        detection.close();
        detection = new Detection(Detection.defaults(), parallelism + 2, savepoint);
      }
    }
    alerts.addAll(detection.alerts);
    detection.close();
    return alerts;
  }

  @Test
  void verdictStandsBesideWhatClientsSee() throws Exception {
    List<JsonNode> alerts = play(1, -1, 0);
    List<JsonNode> impact = ofRule(alerts, "service_impact");
    assertThat(impact)
        .extracting(one -> one.path("state").asText() + " " + one.path("severity").asText())
        .startsWith("firing warning")
        .contains("firing info")
        .endsWith("resolved info");
    JsonNode first = impact.get(0);
    assertThat(first.path("ts").asText()).isEqualTo("2026-01-05T00:22:00Z");
    assertThat(first.path("service").asText()).isEqualTo("shop");
    assertThat(first.path("nodes")).extracting(JsonNode::asText).containsExactly("n1", "n2");
    Map<String, Double> figures = figures(first);
    assertThat(figures.get("passive_failure_ratio")).isEqualTo(0.4);
    // The probe's alert fired at 00:21:30; failures began in the minute from 00:20.
    assertThat(figures.get("detection_seconds")).isEqualTo(90);
    assertThat(figures.get("user_visible_seconds")).isEqualTo(120);
    assertThat(first.path("summary").asText())
        .isEqualTo(
            "Service shop (verdict_dns): clients see it. 40 % of the queries of zone example.com"
                + " fail, usually 1.0 %, for 120 s by now; the probe's alert fired 90 s after the"
                + " first failures.");
    JsonNode probe = first.path("probes").path(0);
    assertThat(probe.path("rule").asText()).isEqualTo("verdict_dns");
    assertThat(probe.path("service").asText()).isEqualTo("shop");
    assertThat(probe.path("started").asText()).isEqualTo("2026-01-05T00:20:30Z");
    assertThat(probe.path("summary").asText()).contains("SERVFAIL");
    JsonNode last = impact.get(impact.size() - 1);
    assertThat(last.path("ts").asText()).isEqualTo("2026-01-05T00:35:00Z");
    assertThat(figures(last).get("user_visible_seconds")).isEqualTo(300);
    assertThat(last.path("summary").asText())
        .contains("no more failures")
        .endsWith("they did for 300 s until 2026-01-05T00:25:00Z.");
    // The zone's own alert, which fired before the probe's, names it when it is written again.
    List<JsonNode> zone = ofRule(alerts, "zone_failing");
    assertThat(zone.get(0).has("probes")).isFalse();
    assertThat(zone.get(zone.size() - 1).at("/probes/0/alert_id").asText())
        .isEqualTo("%032x".formatted(1));
  }

  @Test
  void savepointAndAnotherParallelismChangeNothing() throws Exception {
    List<JsonNode> expected = play(1, -1, 0);
    for (int restart : new int[] {18, 20, 21, 23, 27, 33}) {
      assertThat(play(2, restart, 0)).isEqualTo(expected);
    }
  }

  @Test
  void lateVerdictIsJudgedWithTheNextMinute() throws Exception {
    // Minute 16 has been judged when this arrives in minute 21.
    List<JsonNode> impact = ofRule(play(1, -1, -5 * MINUTE), "service_impact");
    assertThat(impact.get(0).path("ts").asText()).isEqualTo("2026-01-05T00:22:00Z");
    assertThat(figures(impact.get(0)).get("detection_seconds")).isEqualTo(-210);
    assertThat(impact.get(0).path("summary").asText()).endsWith("fired 210 s before.");
  }

  @Test
  void clientsThatSeeNothingOrAreNotThereAreInformation() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 30; minute++) {
        detection.cell(zone(minute, "n1", 100, 2, 10));
        if (minute == 15) {
          detection.probeAlert(at(15), Detection.fields().put("rule", "verdict_hosting"));
          detection.probeAlert(
              at(15),
              Detection.fields()
                  .put("alert_id", "%032x".formatted(2))
                  .put("service", "new")
                  .put("zone", "example.net"));
          // No verdicts of a service in a zone.
          detection.probeAlert(at(15), other(3).put("rule", "certificate_expiry"));
          detection.probeAlert(at(15), other(4).putNull("zone"));
          detection.probeAlert(at(15), other(5).putNull("service"));
        }
        detection.advance(at(minute + 1));
      }
      assertThat(detection.texts())
          .containsExactly(
              "service_impact service=new,zone=example.net info firing", ENTITY + " info firing");
      assertThat(detection.alerts)
          .extracting(alert -> alert.path("summary").asText())
          .contains(
              "Service new (verdict_dns): no node saw queries of zone example.net in the last 5"
                  + " minutes.",
              "Service shop (verdict_hosting): clients see no more failures of zone example.com"
                  + " than usual, 2.0 % of 500 queries.");
      assertThat(figures(detection.alerts.get(0)))
          .doesNotContainKeys("passive_failure_ratio", "detection_seconds");
    }
  }

  @Test
  void nxdomainBeyondTheUsualShareIsAFailure() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 30; minute++) {
        detection.cell(zone(minute, "n1", 100, 0, minute >= 20 ? 80 : 10));
        if (minute == 22) {
          detection.probeAlert(at(22), Detection.fields());
        }
        detection.advance(at(minute + 1));
      }
      JsonNode first = ofRule(detection.alerts, "service_impact").get(0);
      assertThat(first.path("severity").asText()).isEqualTo("critical");
      assertThat(figures(first).get("passive_failure_ratio")).isEqualTo(0.7);
      assertThat(figures(first).get("detection_seconds")).isEqualTo(120);
    }
  }

  @Test
  void failuresOfFewQueriesAreSeenOnceTheyAreMoreThanChance() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 40; minute++) {
        // One chance failure, and two queries a minute that fail from minute 20 on.
        detection.cell(zone(minute, "n1", 2, minute == 12 ? 1 : minute >= 20 ? 2 : 0, 0));
        if (minute == 13) {
          detection.probeAlert(at(13), Detection.fields());
        }
        detection.advance(at(minute + 1));
      }
      List<JsonNode> impact = ofRule(detection.alerts, "service_impact");
      assertThat(impact.get(0).path("severity").asText()).isEqualTo("info");
      JsonNode seen =
          impact.stream()
              .filter(one -> !one.path("severity").asText().equals("info"))
              .findFirst()
              .orElseThrow();
      assertThat(seen.path("ts").asText()).isEqualTo("2026-01-05T00:25:00Z");
      assertThat(figures(seen).get("detection_seconds")).isEqualTo(-7 * 60);
    }
  }

  @Test
  void verdictOfALostProbeIsForgotten() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      detection.probeAlert(at(0), Detection.fields());
      for (long time = at(1); time <= at(0) + 4 * HOUR; time += MINUTE) {
        detection.advance(time);
      }
      assertThat(detection.texts())
          .containsExactly(ENTITY + " info firing", ENTITY + " info resolved");
      JsonNode last = detection.alerts.get(detection.alerts.size() - 1);
      assertThat(last.path("ts").asText()).isEqualTo("2026-01-05T03:01:00Z");
    }
  }

  @Test
  void alertsOfAResolverNameItsProbes() throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < 10; minute++) {
        for (String node : List.of("n1", "n2")) {
          detection.cell(Detection.resolver(at(minute), node, "eu", 100, minute >= 5 ? 90 : 0, 5));
        }
        if (minute == 3) {
          detection.probeAlert(at(3), other(1).putNull("zone").put("resolver", "192.0.2.53"));
          detection.probeAlert(at(3), other(2).putNull("zone").put("resolver", "192.0.2.54"));
          detection.probeAlert(at(3), other(3).putNull("zone").put("resolver", "192.0.2.53"));
          detection.probeAlert(
              at(4),
              other(3).putNull("zone").put("resolver", "192.0.2.53").put("state", "resolved"));
        }
        detection.advance(at(minute + 1));
      }
      assertThat(detection.alerts.get(0).path("rule").asText()).isEqualTo("resolver_failing");
      assertThat(detection.alerts.get(0).path("probes"))
          .extracting(probe -> probe.path("alert_id").asText())
          .containsExactly("%032x".formatted(1));
      assertThat(detection.alerts.get(0).path("suppressed").asInt()).isEqualTo(0);
    }
  }

  private static ObjectNode other(int id) {
    return Detection.fields().put("alert_id", "%032x".formatted(id));
  }

  private static Cell zone(int minute, String node, long queries, long failed, long nxdomain) {
    return Detection.zone(at(minute), "example.com", node, node, queries, failed, nxdomain);
  }

  private static long at(int minute) {
    return BASE + minute * MINUTE;
  }

  private static List<JsonNode> ofRule(List<JsonNode> alerts, String rule) {
    return alerts.stream().filter(alert -> alert.path("rule").asText().equals(rule)).toList();
  }

  private static Map<String, Double> figures(JsonNode alert) {
    Map<String, Double> figures = new TreeMap<>();
    alert
        .path("figures")
        .forEach(one -> figures.put(one.path("name").asText(), one.path("value").asDouble()));
    return figures;
  }
}
