package dnscribe.stream.detect;

import dnscribe.stream.fleet.Counter;
import dnscribe.stream.fleet.NodeWindow;
import dnscribe.stream.fleet.WindowSums;
import java.net.InetAddress;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.util.Collector;

/** Makes the cells of nodes' windows: minutes that do not overlap, by resolver and by zone. */
final class WindowCells implements FlatMapFunction<NodeWindow, Cell> {
  private static final int MINUTE = 60;

  @Override
  public void flatMap(NodeWindow window, Collector<Cell> cells) {
    var key = window.key();
    if (key.lengthSeconds() != MINUTE || key.stepSeconds() != MINUTE || key.isOther()) {
      return;
    }
    switch (key.grouping()) {
      case "resolver" -> {
        if (!isMulticast(key.resolver())) {
          String entity = ResolverDetector.entity(key.resolver(), key.vantage());
          cells.collect(cell(Detectors.RESOLVER, entity, window));
        }
      }
      case "zone" -> {
        String entity = ZoneDetector.entity(key.zone(), key.vantage());
        cells.collect(cell(Detectors.ZONE, entity, window));
      }
      default -> {
        // Other groupings have no rules.
      }
    }
  }

  private static Cell cell(int detector, String entity, NodeWindow window) {
    WindowSums sums = window.sums();
    long[] values = new long[NodeStats.LENGTH];
    values[NodeStats.QUERIES] = sums.get(Counter.QUERIES);
    values[NodeStats.FAILED] =
        Math.max(
            0,
            sums.get(Counter.QUERIES)
                - sums.get(Counter.SUCCESSES)
                - sums.get(Counter.OPEN)
                - sums.get(Counter.EVICTED));
    values[NodeStats.RESPONSES] = sums.responses();
    values[NodeStats.NXDOMAIN] = sums.rcode("NXDOMAIN");
    values[NodeStats.ANSWERS] = sums.get(Counter.ANSWERED);
    if (detector == Detectors.RESOLVER) {
      double median = sums.latencyQuantileMs(0.5);
      values[NodeStats.MEDIAN] = Double.isNaN(median) ? 0 : Math.round(median * 1000);
    }
    values[NodeStats.CLIENTS] = Math.round(sums.uniqueClients());
    String name = NodeStats.name(window.region(), window.node(), window.transport());
    return new Cell(detector, window.key().startMs(), entity, name, values);
  }

  /** Returns whether queries to a resolver need no answer (mDNS, LLMNR). */
  private static boolean isMulticast(String resolver) {
    InetAddress address = Networks.parse(resolver);
    return address != null && address.isMulticastAddress();
  }
}
