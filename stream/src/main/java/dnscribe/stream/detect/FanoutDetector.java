package dnscribe.stream.detect;

import dnscribe.stream.config.Detect;
import dnscribe.stream.config.RuleSettings;
import java.util.Locale;
import java.util.Map;
import java.util.TreeSet;
import java.util.function.Consumer;

/**
 * Rule {@code client_fanout}: nodes that serve queries of one client network (/24, /48) within five
 * minutes. Large resolvers query every node always: their usual number is learned.
 */
final class FanoutDetector implements Detector {
  private static final long SPAN = 300_000;

  /** Weight of a span: a memory of one day. */
  private static final double DAY = SPAN / 86_400_000.0;

  private static final double TIMES = 3;

  /** Networks below this number of nodes are ordinary, and not remembered. */
  private static final int REMEMBERED = 3;

  private static final String USUAL = "nodes";

  private final RuleSettings settings;

  FanoutDetector(Detect settings) {
    this.settings = settings.rule(Rule.CLIENT_FANOUT);
  }

  @Override
  public long spanMillis() {
    return SPAN;
  }

  @Override
  public int maxEntities() {
    return 512;
  }

  @Override
  public long forgetMillis() {
    return 7 * 86_400_000L;
  }

  @Override
  public void judge(
      long start,
      long since,
      String entity,
      Map<String, long[]> cells,
      Map<String, double[]> memory,
      Consumer<Finding> findings) {
    int nodes = cells.size();
    if (nodes < REMEMBERED && memory.isEmpty()) {
      return;
    }
    Estimate usual = Estimate.in(memory, USUAL);
    boolean learned = start - since >= settings.learning().toMillis();
    // A network that was not there before used no node.
    double mean = usual.count() == 0 ? 0 : usual.mean();
    boolean found = learned && nodes >= settings.warning() && nodes >= TIMES * mean;
    if (found) {
      long queries = cells.values().stream().mapToLong(values -> values[0]).sum();
      String summary =
          String.format(
              Locale.ROOT,
              "Clients of %s query %d nodes within five minutes, usually %.0f: %d queries.",
              entity,
              nodes,
              mean,
              queries);
      findings.accept(
          Finding.of(
                  start + SPAN,
                  Rule.CLIENT_FANOUT,
                  Map.of("client_ip", entity),
                  Severity.atLeastWarning(settings.isCritical(nodes)),
                  summary,
                  Figure.of("nodes", nodes, Math.max(settings.warning(), TIMES * mean)),
                  Figure.of("queries", queries))
              .with(Finding.NODES, new TreeSet<>(cells.keySet())));
    }
    if (usual.count() == 0) {
      // The first span is learned as one step from nothing, so that a scan does not become usual.
      usual.learn(found ? 0 : nodes, 1, DAY, false);
    } else {
      usual.learn(nodes, 1, DAY, found);
    }
  }
}
