package dnscribe.stream.fleet;

import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The fleet's progress in event time, from the progress of each node.
 *
 * <p>A node's clock is the end of the newest of its shortest windows. The watermark is the lowest
 * clock of the nodes that are at most {@code lag} behind most others. So a node that is dead, slow
 * or has a wrong clock holds nothing up; its windows come late. A node whose clock is ahead closes
 * no window of others.
 *
 * <p>Records of one node are in several partitions. While a partition is still being caught up on,
 * its position limits the watermark too.
 *
 * <p>Time is an argument: milliseconds since 1970 for the wall clock, and a number of ticks that
 * count only while records arrive, so that an outage of all nodes makes none of them idle.
 */
public final class FleetClock {
  /** Length of a tick. */
  public static final long TICK_MS = 200;

  /** Time after a start in which all partitions should have given their first records. */
  private static final long START_TICKS = 5_000 / TICK_MS;

  /** Silence after which a partition has been read to its end. */
  private static final long GAP_TICKS = 5_000 / TICK_MS;

  /** Age of records, as most nodes' clocks tell, up to which a partition is read to its end. */
  private static final long CAUGHT_UP_MS = 5_000;

  /** Silence of all nodes from which on time does not count: an outage, not a pause of windows. */
  private static final long QUIET_TICKS = 15_000 / TICK_MS;

  /** Time between two ticks from which on the job was held up. */
  private static final long STALL_MS = 5_000;

  /** Time in which the other records of a node's window arrive after the first of them. */
  private static final long SETTLE_MS = 1_000;

  /** How far a window may end after the present: the error that a synchronised clock may have. */
  private static final long AHEAD_MS = 60_000;

  /** Nodes whose records tell how far a partition has been read: those heard last. */
  private static final int RECENT_NODES = 64;

  private final long lagMs;
  private final long idleTicks;
  private final Map<String, NodeClock> nodes = new HashMap<>();
  private final Map<Integer, Partition> partitions = new HashMap<>();
  private long allTicks;

  private long lastTickMs = Long.MAX_VALUE;

  /** Ticks during which nodes were heard. */
  private long ticks;

  private long heardAtTick = -QUIET_TICKS;
  private long watermark;

  private static final class NodeClock {
    /**
     * Length of the node's shortest windows, which alone move its clock: an agent that ends writes
     * longer windows up to minutes before they would have ended.
     */
    int shortestSeconds = Integer.MAX_VALUE;

    long endMs = Long.MIN_VALUE;

    /** End of the window before that, valid until the newest has settled. */
    long settledEndMs = Long.MIN_VALUE;

    long changedAtMs;
    long heardAtTick;

    /** Since when longer windows have come without any of the shortest. */
    long aloneSinceMs = Long.MAX_VALUE;

    /**
     * Notes a window; returns whether those of its length are now the node's shortest. They are
     * shorter than those were, or the agent writes no such windows any more. Then longer ones begin
     * after the last of them, again and again: a single one may be read before others of its time,
     * which are in other partitions.
     */
    boolean noteLength(int seconds, long endMs, long nowMs) {
      long lengthMs = seconds * 1000L;
      boolean isAlone = this.endMs != Long.MIN_VALUE && endMs - this.endMs > lengthMs;
      if (seconds == shortestSeconds) {
        aloneSinceMs = Long.MAX_VALUE;
      } else if (isAlone) {
        aloneSinceMs = Math.min(aloneSinceMs, nowMs);
      }
      return seconds < shortestSeconds || (isAlone && nowMs - aloneSinceMs >= lengthMs / 2);
    }
  }

  private static final class Partition {
    /** Newest record by node: end of its window and its age, in the order in which they came. */
    final LinkedHashMap<String, long[]> recent =
        new LinkedHashMap<>(16, 0.75f, true) {
          @Override
          protected boolean removeEldestEntry(Map.Entry<String, long[]> eldest) {
            return size() > RECENT_NODES;
          }
        };

    /** Ticks since the operator's start, those without any record included. */
    long heardAtTick;

    boolean isCaughtUp;
  }

  /**
   * Creates a clock.
   *
   * @param lagMs how far a node may be behind most others and still be waited for
   * @param idleMs how long a silent node counts as one of these others
   * @param watermark where to begin; {@link Long#MIN_VALUE} for a new job
   */
  public FleetClock(long lagMs, long idleMs, long watermark) {
    this.lagMs = lagMs;
    this.idleTicks = idleMs / TICK_MS;
    this.watermark = watermark;
  }

  /** Returns the newest watermark. */
  long watermark() {
    return watermark;
  }

  /** Takes a window of a node. */
  void observe(NodeWindow window, long nowMs) {
    WindowKey key = window.key();
    int seconds = key.lengthSeconds();
    observe(window.node(), key.endMs(), seconds, window.partition(), window.writtenMs(), nowMs);
  }

  /**
   * Takes a record of a node.
   *
   * @param endMs time of the record, or end of its window
   * @param seconds length of its window, 0 if it has none
   * @param partition that it was in
   * @param writtenMs when it was written there
   */
  public void observe(
      String name, long endMs, int seconds, int partition, long writtenMs, long nowMs) {
    heardAtTick = allTicks;
    NodeClock node = nodes.computeIfAbsent(name, key -> new NodeClock());
    node.heardAtTick = ticks;
    if (node.noteLength(seconds, endMs, nowMs)) {
      node.shortestSeconds = seconds;
      node.endMs = Long.MIN_VALUE;
      node.aloneSinceMs = Long.MAX_VALUE;
    }
    // A clock that was ahead may have been set right.
    boolean isNewer = endMs > node.endMs || node.endMs > nowMs + AHEAD_MS;
    if (seconds == node.shortestSeconds && isNewer) {
      node.settledEndMs = node.endMs == Long.MIN_VALUE ? endMs : node.endMs;
      node.endMs = endMs;
      node.changedAtMs = nowMs;
    }
    Partition place = partitions.computeIfAbsent(partition, number -> new Partition());
    place.heardAtTick = allTicks;
    place.recent.put(name, new long[] {endMs, nowMs - writtenMs});
  }

  /** Lets a tick pass; returns the watermark. */
  public long tick(long nowMs) {
    allTicks++;
    if (nowMs - lastTickMs > STALL_MS) {
      // A store or the machine held the job up: its partitions have a backlog.
      partitions.values().forEach(partition -> partition.isCaughtUp = false);
    }
    lastTickMs = nowMs;
    if (allTicks - heardAtTick <= QUIET_TICKS) {
      ticks++;
    }
    if (allTicks >= START_TICKS && allTicks % (1000 / TICK_MS) == 0) {
      watermark = Math.max(watermark, Math.min(nodes(nowMs), partitions()));
    }
    return watermark;
  }

  /** Returns the lowest clock of the nodes that are not far behind. */
  private long nodes(long nowMs) {
    nodes.values().removeIf(node -> ticks - node.heardAtTick > idleTicks);
    long[] clocks = new long[nodes.size()];
    int size = 0;
    for (NodeClock node : nodes.values()) {
      long clock = nowMs - node.changedAtMs >= SETTLE_MS ? node.endMs : node.settledEndMs;
      if (clock <= nowMs + AHEAD_MS) {
        clocks[size++] = clock;
      }
    }
    if (size == 0) {
      return Long.MIN_VALUE;
    }
    Arrays.sort(clocks, 0, size);
    // Of two nodes, the later one.
    long most = clocks[size / 2];
    for (int i = 0; i < size; i++) {
      if (clocks[i] >= most - lagMs) {
        return clocks[i];
      }
    }
    return most;
  }

  /** Returns how far the partitions have been read that are not read to their end yet. */
  private long partitions() {
    long position = Long.MAX_VALUE;
    for (Partition partition : partitions.values()) {
      partition.isCaughtUp |=
          allTicks - partition.heardAtTick >= GAP_TICKS
              || median(partition.recent, 1) <= CAUGHT_UP_MS;
      if (!partition.isCaughtUp) {
        position = Math.min(position, median(partition.recent, 0));
      }
    }
    return position;
  }

  private static long median(Map<String, long[]> records, int field) {
    long[] values = records.values().stream().mapToLong(record -> record[field]).sorted().toArray();
    return values[values.length / 2];
  }
}
