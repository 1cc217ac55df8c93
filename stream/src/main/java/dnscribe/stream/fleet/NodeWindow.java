package dnscribe.stream.fleet;

/**
 * A {@code dns.window/1}: one group of one node's transactions in one window.
 *
 * @param partition of its record in Kafka
 * @param writtenMs timestamp of that record, in milliseconds since 1970
 * @param region of the node, or null
 * @param transport of the grouping {@code resolver}, else null
 * @param key window and group
 * @param sums counters, histograms and sketches
 */
public record NodeWindow(
    int partition,
    long writtenMs,
    String eventId,
    String node,
    String region,
    String transport,
    WindowKey key,
    WindowSums sums) {

  /** Returns false for groupings by what is on one node only: they are counted, and that is all. */
  static boolean isMerged(String grouping) {
    return !grouping.equals("process") && !grouping.equals("pod");
  }

  /** Returns the same sums as part of another window or group. */
  NodeWindow withKey(WindowKey other) {
    return new NodeWindow(partition, writtenMs, eventId, node, region, transport, other, sums);
  }
}
