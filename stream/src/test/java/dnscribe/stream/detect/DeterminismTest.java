package dnscribe.stream.detect;

import static dnscribe.stream.detect.Detection.BASE;
import static dnscribe.stream.detect.Detection.MINUTE;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** The same input gives the same alerts, whatever its order, the parallelism and restarts. */
class DeterminismTest {
  private static final int MINUTES = 90;
  private static final int ZONES = 40;

  @Test
  void orderWithinTheWaitChangesNothing() throws Exception {
    List<JsonNode> expected = play(cells(7), 1, new Random(0), 0, -1);
    assertThat(expected).isNotEmpty();
    for (int seed = 1; seed <= 4; seed++) {
      // Cells come up to 25 s after others of later minutes.
      assertThat(play(cells(7), seed, new Random(seed), 25_000, -1)).isEqualTo(expected);
    }
  }

  @Test
  void savepointAndAnotherParallelismChangeNothing() throws Exception {
    List<JsonNode> expected = play(cells(11), 1, new Random(0), 0, -1);
    assertThat(expected)
        .extracting(alert -> alert.path("rule").asText())
        .contains("resolver_failing", "zone_failing", "zone_query_rate");
    for (int restart : new int[] {5, 45, 61, 63}) {
      assertThat(play(cells(11), 2, new Random(3), 25_000, restart)).isEqualTo(expected);
    }
  }

  /** The alerts that were firing when a former version was stopped go on. */
  @Test
  void savepointsOfAFormerVersionAreRestored() throws Exception {
    List<JsonNode> expected = play(cells(11), 1, new Random(0), 0, -1);
    assertThat(play(cells(11), 1, new Random(0), 0, -63)).isEqualTo(expected);
  }

  /**
   * Sends the cells out of order by up to {@code jitter}; restarts with more subtasks, or if the
   * minute is negative from the savepoint of a former version.
   */
  private static List<JsonNode> play(
      List<Cell> cells, int parallelism, Random random, int jitter, int restartMinute)
      throws Exception {
    record Arrival(long time, Cell cell) {}
    List<Cell> shuffled = new ArrayList<>(cells);
    Collections.shuffle(shuffled, random);
    List<Arrival> arrivals = new ArrayList<>();
    for (Cell cell : shuffled) {
      long delay = jitter == 0 ? 0 : random.nextInt(jitter);
      arrivals.add(new Arrival(cell.start() + MINUTE + delay, cell));
    }
    arrivals.sort(Comparator.comparingLong(Arrival::time));
    List<JsonNode> alerts = new ArrayList<>();
    Detection detection = new Detection(Detection.quick(), parallelism, null);
    int next = 0;
    for (int second = 0; second <= (MINUTES + 5) * 60; second += 5) {
      long now = BASE + second * 1000L;
      while (next < arrivals.size() && arrivals.get(next).time() <= now) {
        detection.cell(arrivals.get(next++).cell());
      }
      // The watermark is the time of arrivals.
      detection.advance(now - Detection.quick().closeAfter().toMillis());
      if (second == Math.abs(restartMinute) * 60 && restartMinute != -1) {
        Detection.Savepoint savepoint = detection.savepoint();
        if (restartMinute < 0) {
          savepoint = savepoint.kept();
        }
        alerts.addAll(detection.alerts);
        detection.close();
        detection = new Detection(Detection.quick(), parallelism + 1, savepoint);
      }
    }
    alerts.addAll(detection.alerts);
    detection.close();
    return alerts;
  }

  private static List<Cell> cells(long seed) {
    Random random = new Random(seed);
    List<Cell> cells = new ArrayList<>();
    for (int minute = 0; minute < MINUTES; minute++) {
      long start = BASE + minute * MINUTE;
      for (int node = 0; node < 6; node++) {
        String site = node % 2 == 0 ? "eu" : "us";
        String name = "n" + node;
        boolean fails = minute >= 60 && minute < 66 && node < 4;
        cells.add(Detection.resolver(start, name, site, 200, fails ? 150 : random.nextInt(3), 5));
        for (int number = 0; number < ZONES; number++) {
          String zone = "z" + number + ".example";
          long queries = 100L + random.nextInt(20);
          long failed = number == 3 && minute >= 40 && minute < 45 ? 90 : 0;
          long many = number == 5 && minute >= 50 && minute < 55 ? 2_000 : 0;
          cells.add(Detection.zone(start, zone, name, site, queries + many, failed, queries / 9));
        }
      }
    }
    return cells;
  }
}
