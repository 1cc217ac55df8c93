package dnscribe.stream.detect;

import dnscribe.stream.config.Detect;
import dnscribe.stream.config.RuleSettings;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Consumer;

/**
 * Rules {@code resolver_failing} and {@code resolver_slow}: one resolver and vantage, by node. What
 * one node alone sees is that node's alert.
 */
final class ResolverDetector implements Detector {
  /** Least share of the nodes that must be affected: in a large fleet some always are. */
  private static final double LEAST_NODES = 0.2;

  /** Smallest deviation of the logarithm of a latency that is assumed: 15 %. */
  private static final double LATENCY_FLOOR = 0.15;

  private static final double LEAST_SLOWDOWN_MS = 20;
  private static final double LEAST_CRITICAL_MS = 500;
  private static final int NODES = 256;
  private static final String SHARE = "failed";
  private static final String LATENCY = "latency/";

  private final RuleSettings failing;
  private final RuleSettings slow;

  ResolverDetector(Detect settings) {
    failing = settings.rule(Rule.RESOLVER_FAILING);
    slow = settings.rule(Rule.RESOLVER_SLOW);
  }

  static String entity(String resolver, String vantage) {
    return Cell.join(resolver, vantage);
  }

  @Override
  public long spanMillis() {
    return 60_000;
  }

  @Override
  public int sums() {
    return NodeStats.SUMS;
  }

  @Override
  public int maxEntities() {
    return 64;
  }

  @Override
  public long forgetMillis() {
    return 24 * 3_600_000;
  }

  @Override
  public void judge(
      long start,
      long since,
      String entity,
      Map<String, long[]> cells,
      Map<String, double[]> memory,
      Consumer<Finding> findings) {
    String[] parts = Cell.split(entity);
    Map<String, String> names = Map.of("resolver", parts[0], "vantage", parts[1]);
    Collection<NodeStats> nodes = NodeStats.byNode(cells).values();
    judgeFailures(start, names, nodes, memory, findings);
    judgeLatency(start, names, nodes, memory, findings);
  }

  private void judgeFailures(
      long start,
      Map<String, String> entity,
      Collection<NodeStats> nodes,
      Map<String, double[]> memory,
      Consumer<Finding> findings) {
    Estimate usual = Estimate.in(memory, SHARE);
    double mean = usual.isWarm() ? usual.mean() : 0;
    long queries = 0;
    long failed = 0;
    long failedThere = 0;
    long queriesThere = 0;
    int judged = 0;
    List<String> affected = new ArrayList<>();
    for (NodeStats node : nodes) {
      queries += node.queries;
      failed += node.failed;
      if (node.queries >= failing.minQueries()) {
        judged++;
        if (Shares.lowerBound(node.failed, node.queries) >= mean + failing.warning()) {
          affected.add(node.node);
          failedThere += node.failed;
          queriesThere += node.queries;
        }
      }
    }
    boolean found =
        affected.size() >= failing.minNodes() && affected.size() >= LEAST_NODES * judged;
    double share = Shares.share(failed, queries);
    double floor = Shares.floor(usual.mean(), queries);
    if (found) {
      boolean most = 2 * affected.size() >= judged;
      boolean critical = most && failing.isCritical(Shares.lowerBound(failedThere, queriesThere));
      double there = Shares.share(failedThere, queriesThere);
      String summary =
          String.format(
              Locale.ROOT,
              "Resolver %s fails for %d of %d nodes: %.0f %% of their queries without an answer or"
                  + " with an error, usually %.1f %%.",
              entity.get("resolver"),
              affected.size(),
              judged,
              there * 100,
              mean * 100);
      Figure figure =
          new Figure(
              "failed_ratio",
              there,
              mean + failing.warning(),
              usual.isWarm() ? usual.usual(there, floor, false) : null);
      findings.accept(
          Finding.of(
                  start + spanMillis(),
                  Rule.RESOLVER_FAILING,
                  entity,
                  Severity.atLeastWarning(critical),
                  summary,
                  figure,
                  Figure.of("failed", failed),
                  Figure.of("queries", queries),
                  Figure.of("nodes", affected.size(), failing.minNodes()),
                  Figure.of("nodes_judged", judged))
              .with(Finding.NODES, affected));
    }
    if (queries > 0) {
      usual.learn(share, floor, Estimate.HOUR, found);
    }
  }

  private void judgeLatency(
      long start,
      Map<String, String> entity,
      Collection<NodeStats> nodes,
      Map<String, double[]> memory,
      Consumer<Finding> findings) {
    int judged = 0;
    List<String> affected = new ArrayList<>();
    List<Double> times = new ArrayList<>();
    NodeStats worst = null;
    Figure.Usual worstUsual = null;
    for (NodeStats node : nodes) {
      if (node.answers < slow.minQueries() || !hasRoom(memory, node.node)) {
        continue;
      }
      Estimate estimate = Estimate.in(memory, LATENCY + node.node);
      double value = Math.log(Math.max(node.medianMs, 0.001));
      boolean isSlow = false;
      if (estimate.isWarm() && isLearned(estimate)) {
        judged++;
        Figure.Usual usual = estimate.usual(value, LATENCY_FLOOR, false);
        double usualMs = Math.exp(usual.mean());
        isSlow =
            usual.z() >= slow.zScore()
                && node.medianMs >= usualMs * slow.warning()
                && node.medianMs - usualMs >= LEAST_SLOWDOWN_MS;
        if (isSlow) {
          affected.add(node.node);
          times.add(node.medianMs / usualMs);
          if (worst == null || node.medianMs > worst.medianMs) {
            worst = node;
            double deviation = usualMs * (Math.exp(usual.deviation()) - 1);
            worstUsual = new Figure.Usual(usualMs, deviation, usual.z(), usual.samples(), false);
          }
        }
      }
      estimate.learn(value, LATENCY_FLOOR, Estimate.HOUR, isSlow);
    }
    if (affected.size() < slow.minNodes() || affected.size() < LEAST_NODES * judged) {
      return;
    }
    times.sort(null);
    boolean critical =
        2 * affected.size() >= judged
            && slow.isCritical(times.get(times.size() / 2))
            && worst.medianMs >= LEAST_CRITICAL_MS;
    String summary =
        String.format(
            Locale.ROOT,
            "Resolver %s is slow for %d of %d nodes: at %s half of the answers take %.0f ms or"
                + " longer, usually %.0f ms.",
            entity.get("resolver"),
            affected.size(),
            judged,
            worst.node,
            worst.medianMs,
            worstUsual.mean());
    findings.accept(
        Finding.of(
                start + spanMillis(),
                Rule.RESOLVER_SLOW,
                entity,
                Severity.atLeastWarning(critical),
                summary,
                new Figure(
                    "latency_p50_ms",
                    worst.medianMs,
                    worstUsual.mean() * slow.warning(),
                    worstUsual),
                Figure.of("nodes", affected.size(), slow.minNodes()),
                Figure.of("nodes_judged", judged))
            .with(Finding.NODES, affected));
  }

  /** Returns whether a node was compared for long enough: a value is of a minute. */
  private boolean isLearned(Estimate estimate) {
    return estimate.count() * spanMillis() >= slow.learning().toMillis();
  }

  /** Returns whether a node has a baseline or may get one. */
  private static boolean hasRoom(Map<String, double[]> memory, String node) {
    return memory.size() <= NODES || memory.containsKey(LATENCY + node);
  }
}
