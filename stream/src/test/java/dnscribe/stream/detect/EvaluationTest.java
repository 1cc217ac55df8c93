package dnscribe.stream.detect;

import static dnscribe.stream.detect.Detection.BASE;
import static dnscribe.stream.detect.Detection.MINUTE;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Precision and recall of the rules against baselines, on generated weeks; printed. */
class EvaluationTest {
  private static final int DAY = 24 * 60;
  private static final int DAYS = 21;

  /** Days before the first incident. */
  private static final int QUIET = 14;

  private static final int ZONES = 12;

  /** An incident of one zone, in minutes since the beginning. */
  private record Incident(String rule, int zone, int start, int end) {
    boolean isAt(int number, int minute) {
      return number == zone && start <= minute && minute < end;
    }
  }

  @Test
  void incidentsAmongSeasonsAreFound() throws Exception {
    List<Incident> incidents = incidents(new Random(5));
    List<JsonNode> alerts = play(incidents, new Random(9));
    for (String rule : List.of("zone_query_rate", "zone_nxdomain", "zone_failing")) {
      List<Incident> own = incidents.stream().filter(one -> one.rule.equals(rule)).toList();
      List<JsonNode> fired =
          alerts.stream().filter(alert -> alert.path("rule").asText().equals(rule)).toList();
      long found = own.stream().filter(one -> fired.stream().anyMatch(a -> isOf(a, one))).count();
      long right = fired.stream().filter(a -> own.stream().anyMatch(one -> isOf(a, one))).count();
      double precision = fired.isEmpty() ? 0 : (double) right / fired.size();
      System.out.printf(
          Locale.ROOT,
          "%s: %d incidents, recall %.3f, alerts %d, precision %.3f%n",
          rule,
          own.size(),
          (double) found / own.size(),
          fired.size(),
          precision);
      assertThat(found).as(rule).isGreaterThanOrEqualTo(Math.round(0.9 * own.size()));
      assertThat(precision).as(rule).isGreaterThanOrEqualTo(0.9);
    }
  }

  private static List<Incident> incidents(Random random) {
    List<Incident> incidents = new ArrayList<>();
    for (int zone = 0; zone < ZONES; zone++) {
      for (int day = QUIET; day < DAYS; day++) {
        List<String> rules = List.of("zone_query_rate", "zone_nxdomain", "zone_failing");
        int start = day * DAY + random.nextInt(DAY - 120);
        int length = 5 + random.nextInt(25);
        incidents.add(new Incident(rules.get((zone + day) % 3), zone, start, start + length));
      }
    }
    return incidents;
  }

  private static List<JsonNode> play(List<Incident> incidents, Random random) throws Exception {
    try (Detection detection = new Detection(Detection.defaults())) {
      for (int minute = 0; minute < DAYS * DAY; minute++) {
        for (int zone = 0; zone < ZONES; zone++) {
          int number = zone;
          int now = minute;
          String rule =
              incidents.stream()
                  .filter(one -> one.isAt(number, now))
                  .map(Incident::rule)
                  .findFirst()
                  .orElse("");
          long total = queries(zone, minute, random) * (rule.equals("zone_query_rate") ? 5 : 1);
          for (String site : List.of("eu", "us")) {
            long queries = site.equals("eu") ? total * 2 / 3 : total / 3;
            double failing = rule.equals("zone_failing") ? 0.6 : 0.004;
            double denied = rule.equals("zone_nxdomain") ? 0.45 : 0.03 + zone % 4 * 0.03;
            detection.cell(
                Detection.zone(
                    BASE + minute * MINUTE,
                    "z" + zone + ".example",
                    "n-" + site,
                    site,
                    queries,
                    part(queries, failing, random),
                    part(queries, denied, random)));
          }
        }
        detection.advance(BASE + (minute + 1) * MINUTE);
      }
      return detection.firsts();
    }
  }

  /** A day's course, by zone smooth or with office hours, quieter weekends, and bursts. */
  private static long queries(int zone, int minute, Random random) {
    double hour = minute % DAY / 60.0;
    boolean isWeekend = minute / DAY % 7 >= 5;
    boolean isOffice = zone % 3 == 0;
    double course =
        isOffice
            ? (hour >= 8 && hour < 18 && !isWeekend ? 1 : 0.1)
            : Math.exp(Math.sin(2 * Math.PI * (hour - 6) / 24)) * (isWeekend ? 0.6 : 1);
    double mean = (600 + 300 * zone) * course;
    double burst = random.nextInt(200) == 0 ? 1.8 : 1;
    return Math.max(0, Math.round(mean * burst * (1 + 0.1 * random.nextGaussian())));
  }

  private static long part(long queries, double share, Random random) {
    double noise = random.nextGaussian() * Math.sqrt(queries * share * (1 - share));
    return Math.max(0, Math.min(queries, Math.round(queries * share + noise)));
  }

  private static boolean isOf(JsonNode alert, Incident incident) {
    long time = Instant.parse(alert.path("started").asText()).toEpochMilli();
    double minute = (time - BASE) / (double) MINUTE;
    return alert.path("zone").asText().equals("z" + incident.zone + ".example")
        && minute >= incident.start
        && minute <= incident.end + 1;
  }
}
