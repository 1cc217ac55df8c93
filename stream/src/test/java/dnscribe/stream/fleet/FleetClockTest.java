package dnscribe.stream.fleet;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class FleetClockTest {
  private static final long NOW = 1_800_000_000_000L;
  private static final long STEP = 10_000;
  private static final long HOUR = 3_600_000;

  /** Time from the end of a window to its arrival. */
  private static final long DELAY = 7_000;

  private final FleetClock clock = new FleetClock(15_000, 30_000, Long.MIN_VALUE);
  private long nowMs = NOW;

  /** A node with the error of its clock; it writes to a partition of its own. */
  private record Node(String name, int partition, long errorMs) {}

  @Test
  void followsTheSlowestOfNodesThatAreInTime() {
    run(10, List.of(node("a", 0), node("b", 1), node("late", 2, -STEP)));
    assertThat(clock.watermark()).isEqualTo(lastWritten() - STEP);
  }

  @Test
  void aDeadNodeHoldsNothingUp() {
    run(3, List.of(node("a", 0), node("b", 1), node("dead", 2)));
    run(3, List.of(node("a", 0), node("b", 1)));
    assertThat(clock.watermark()).isEqualTo(lastWritten());
  }

  @Test
  void mostNodesMayDieAtOnce() {
    run(3, List.of(node("a", 0), node("b", 1), node("c", 2), node("d", 0)));
    run(6, List.of(node("a", 0)));
    assertThat(clock.watermark()).isEqualTo(lastWritten());
  }

  @Test
  void wrongClocksNeitherBlockNorClose() {
    run(10, List.of(node("right", 0), node("slow", 1, -HOUR)));
    assertThat(clock.watermark()).isEqualTo(lastWritten());
    run(10, List.of(node("right", 0), node("fast", 2, HOUR), node("slow", 1, -HOUR)));
    assertThat(clock.watermark()).isEqualTo(lastWritten());
  }

  @Test
  void afterAnOutageOfAllTheFirstNodeDoesNotMakeTheOthersIdle() {
    List<Node> nodes = List.of(node("a", 0), node("b", 1), node("c", 2));
    run(5, nodes);
    long before = clock.watermark();
    for (int i = 0; i < 3_000; i++) {
      tick();
    }
    run(1, nodes.subList(0, 1));
    assertThat(clock.watermark()).isEqualTo(before);
    run(2, nodes);
    assertThat(clock.watermark()).isEqualTo(lastWritten());
  }

  @Test
  void aPartitionThatIsBehindLimitsTheWatermarkUntilItIsReadToItsEnd() {
    // A backlog of an hour: partition 0 has few records and is read quickly.
    long begin = NOW - HOUR;
    for (int i = 0; i < 300; i++) {
      observe("a", 0, begin + i * STEP, begin + i * STEP + DELAY);
    }
    for (int i = 0; i < 100; i++) {
      observe("b", 1, begin + i * STEP, begin + i * STEP + DELAY);
      tick();
    }
    assertThat(clock.watermark()).isBetween(begin, begin + 100 * STEP);
    for (int i = 100; i < 360; i++) {
      observe("b", 1, begin + i * STEP, begin + i * STEP + DELAY);
    }
    for (int i = 0; i < 50; i++) {
      tick();
    }
    assertThat(clock.watermark()).isGreaterThan(begin + 350 * STEP);
  }

  @Test
  void neverGoesBack() {
    List<Long> seen = new ArrayList<>();
    for (int i = 0; i < 20; i++) {
      run(1, List.of(node("a", 0), node("b", 1, i % 3 * -60_000L)));
      seen.add(clock.watermark());
    }
    assertThat(seen).isSorted();
  }

  @Test
  void nodesMayWriteOnlyLongerWindowsFromNowOn() {
    List<Node> nodes = List.of(node("a", 0), node("b", 1));
    run(12, nodes);
    runMinutes(4, nodes);
    long minute = 60_000;
    assertThat(clock.watermark()).isEqualTo(Math.floorDiv(nowMs, minute) * minute - minute);
    // Some minutes later they write the shorter ones, too.
    run(2, nodes);
    assertThat(clock.watermark()).isEqualTo(lastWritten());
  }

  /** Nodes send what they kept, and one partition is read before the other. */
  @Test
  void longerWindowsThatAreReadFirstMoveNothing() {
    List<Node> nodes = List.of(node("a", 0), node("b", 1));
    run(12, nodes);
    long before = clock.watermark();
    for (int i = 0; i < 3_000; i++) {
      tick();
    }
    for (int minute = 1; minute < 10; minute++) {
      for (Node node : nodes) {
        observe(node.name(), 0, before + minute * 60_000L, 60, nowMs);
      }
      tick();
    }
    for (int i = 0; i < 10; i++) {
      tick();
    }
    assertThat(clock.watermark()).isEqualTo(before);
    for (int step = 1; step < 54; step++) {
      for (Node node : nodes) {
        observe(node.name(), 1, before + step * STEP, nowMs);
      }
    }
    for (int i = 0; i < 10; i++) {
      tick();
    }
    assertThat(clock.watermark()).isEqualTo(before + 53 * STEP);
  }

  @Test
  void clocksOfAllNodesMayBeSetRight() {
    run(5, List.of(node("a", 0, HOUR), node("b", 1, HOUR)));
    run(3, List.of(node("a", 0), node("b", 1)));
    assertThat(clock.watermark()).isEqualTo(lastWritten());
  }

  private static Node node(String name, int partition) {
    return new Node(name, partition, 0);
  }

  private static Node node(String name, int partition, long errorMs) {
    return new Node(name, partition, errorMs);
  }

  /** Lets each node write windows of ten seconds, in time of its own clock, for so many steps. */
  private void run(int steps, List<Node> nodes) {
    for (int step = 0; step < steps; step++) {
      long endMs = newestEnd();
      for (Node node : nodes) {
        long end = Math.floorDiv(endMs + node.errorMs(), STEP) * STEP;
        observe(node.name(), node.partition(), end, nowMs + node.errorMs());
      }
      for (long ms = 0; ms < STEP; ms += FleetClock.TICK_MS) {
        tick();
      }
    }
  }

  /** Lets each node write windows of a minute, and no others. */
  private void runMinutes(int minutes, List<Node> nodes) {
    for (int minute = 0; minute < minutes; minute++) {
      long endMs = Math.floorDiv(nowMs, 60_000) * 60_000;
      for (Node node : nodes) {
        observe(node.name(), node.partition(), endMs, 60, nowMs);
      }
      for (long ms = 0; ms < 60_000; ms += FleetClock.TICK_MS) {
        tick();
      }
    }
  }

  private long lastWritten() {
    return newestEnd() - STEP;
  }

  private long newestEnd() {
    return Math.floorDiv(nowMs - DELAY, STEP) * STEP;
  }

  private void observe(String node, int partition, long endMs, long writtenMs) {
    observe(node, partition, endMs, 10, writtenMs);
  }

  private void observe(String node, int partition, long endMs, int seconds, long writtenMs) {
    long startMs = endMs - seconds * 1000L;
    WindowKey key =
        new WindowKey(startMs, seconds, seconds, "node", "client", null, null, null, null, false);
    clock.observe(new NodeWindow(partition, writtenMs, "0", node, null, null, key, null), nowMs);
  }

  private void tick() {
    nowMs += FleetClock.TICK_MS;
    clock.tick(nowMs);
  }
}
