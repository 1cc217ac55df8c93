package dnscribe.stream.detect;

import java.util.Map;
import java.util.TreeMap;

/** Values of a node's window, as a {@link Cell} has them. */
final class NodeStats {
  static final int QUERIES = 0;
  static final int FAILED = 1;
  static final int RESPONSES = 2;
  static final int NXDOMAIN = 3;
  static final int ANSWERS = 4;

  /** Median latency of the answers in microseconds. */
  static final int MEDIAN = 5;

  /** Estimated number of clients. */
  static final int CLIENTS = 6;

  /** Length of the values; those in older state lack the clients. */
  static final int LENGTH = 7;

  /** Number of the first columns that are sums. */
  static final int SUMS = 5;

  /** Site of the node: its region, else the node itself. */
  final String site;

  final String node;
  long queries;
  long failed;
  long responses;
  long nxdomain;
  long answers;
  double medianMs;
  long clients;

  private NodeStats(String site, String node) {
    this.site = site;
    this.node = node;
  }

  /** Returns the name of a window's cell. */
  static String name(String region, String node, String transport) {
    return Cell.join(region == null ? node : region, node, transport == null ? "" : transport);
  }

  /** Returns windows by node. Transports are added up; latency is that of the one in most use. */
  static Map<String, NodeStats> byNode(Map<String, long[]> cells) {
    Map<String, NodeStats> nodes = new TreeMap<>();
    // Sorted, so that equal counts of two transports give the same result in any order.
    for (var cell : new TreeMap<>(cells).entrySet()) {
      String[] name = Cell.split(cell.getKey());
      nodes
          .computeIfAbsent(name[1], node -> new NodeStats(name[0], node))
          .add(cell.getValue(), cell.getValue()[ANSWERS]);
    }
    return nodes;
  }

  private long measured;

  private void add(long[] values, long count) {
    queries += values[QUERIES];
    failed += values[FAILED];
    responses += values[RESPONSES];
    nxdomain += values[NXDOMAIN];
    answers += values[ANSWERS];
    clients = Math.max(clients, values.length > CLIENTS ? values[CLIENTS] : 0);
    if (count > measured) {
      measured = count;
      medianMs = values[MEDIAN] / 1000.0;
    }
  }
}
