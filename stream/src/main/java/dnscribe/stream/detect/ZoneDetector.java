package dnscribe.stream.detect;

import dnscribe.stream.config.Detect;
import dnscribe.stream.config.RuleSettings;
import dnscribe.stream.detect.Figure.Usual;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;

/**
 * Rules {@code zone_failing}, {@code zone_failing_site}, {@code zone_nxdomain}, {@code
 * zone_query_rate} and {@code service_impact}: one zone and vantage, by site and over all nodes.
 */
final class ZoneDetector implements Detector {
  /** Share of the sites from which on a zone fails everywhere. */
  private static final double EVERYWHERE = 0.8;

  /** Most sites that have alerts of their own. */
  private static final int SITES = 3;

  /** A rate below this share of the usual one is low. */
  private static final double LOW = 0.2;

  private static final String SHARE = "failed";
  private static final String RATE = "rate";
  private static final String NXDOMAIN = "nxdomain";

  private final RuleSettings everywhere;
  private final RuleSettings single;
  private final RuleSettings nxdomain;
  private final RuleSettings rate;
  private final ServiceImpact impact;

  ZoneDetector(Detect settings) {
    everywhere = settings.rule(Rule.ZONE_FAILING);
    single = settings.rule(Rule.ZONE_FAILING_SITE);
    nxdomain = settings.rule(Rule.ZONE_NXDOMAIN);
    rate = settings.rule(Rule.ZONE_QUERY_RATE);
    impact = new ServiceImpact(settings.rule(Rule.SERVICE_IMPACT));
  }

  static String entity(String zone, String vantage) {
    return Cell.join(zone, vantage);
  }

  /** Counts of a site. */
  private static final class Site {
    private final String name;
    private long queries;
    private long failed;
    private final List<String> nodes = new ArrayList<>();

    private Site(String name) {
      this.name = name;
    }
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
    return 128;
  }

  @Override
  public long forgetMillis() {
    // A zone that is queried at weekends only keeps its baselines.
    return 14 * 24 * 3_600_000L;
  }

  @Override
  public boolean judgesSilence() {
    return true;
  }

  @Override
  public boolean keepsLate(String cell) {
    return ProbeCells.isProbe(cell);
  }

  @Override
  public boolean isOpen(Map<String, double[]> memory) {
    return memory.keySet().stream().anyMatch(ProbeCells::isProbe);
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
    Map<String, String> names = Map.of("zone", parts[0], "vantage", parts[1]);
    Map<String, long[]> windows = new HashMap<>(cells);
    Map<String, long[]> probes = new HashMap<>(cells);
    windows.keySet().removeIf(ProbeCells::isProbe);
    probes.keySet().removeAll(windows.keySet());
    Collection<NodeStats> nodes = NodeStats.byNode(windows).values();
    impact.judge(start, names, usual(memory), nodes, probes, memory, findings);
    if (nodes.isEmpty() && !memory.containsKey(RATE)) {
      return;
    }
    judgeFailures(start, names, nodes, memory, findings);
    judgeNxdomain(start, names, nodes, memory, findings);
    judgeRate(start, names, nodes, memory, findings);
  }

  /** Returns the usual shares of failures and of NXDOMAIN; an unknown share of NXDOMAIN is 1. */
  private static double[] usual(Map<String, double[]> memory) {
    double failed = 0;
    double nxdomain = 1;
    if (memory.containsKey(SHARE) && Estimate.in(memory, SHARE).isWarm()) {
      failed = Estimate.in(memory, SHARE).mean();
    }
    if (memory.containsKey(NXDOMAIN) && Baseline.in(memory, NXDOMAIN).isWarm()) {
      nxdomain = Baseline.in(memory, NXDOMAIN).mean();
    }
    return new double[] {failed, nxdomain};
  }

  private void judgeFailures(
      long start,
      Map<String, String> zone,
      Collection<NodeStats> nodes,
      Map<String, double[]> memory,
      Consumer<Finding> findings) {
    Map<String, Site> sites = new TreeMap<>();
    long queries = 0;
    long failed = 0;
    for (NodeStats node : nodes) {
      Site site = sites.computeIfAbsent(node.site, Site::new);
      site.queries += node.queries;
      site.failed += node.failed;
      queries += node.queries;
      failed += node.failed;
      if (node.failed > 0) {
        site.nodes.add(node.node);
      }
    }
    Estimate usual = Estimate.in(memory, SHARE);
    double mean = usual.isWarm() ? usual.mean() : 0;
    List<Site> judged = new ArrayList<>();
    List<Site> failing = new ArrayList<>();
    for (Site site : sites.values()) {
      if (site.queries >= everywhere.minQueries()) {
        judged.add(site);
        if (Shares.lowerBound(site.failed, site.queries) >= mean + everywhere.warning()) {
          failing.add(site);
        }
      }
    }
    boolean found = !failing.isEmpty() && judged.size() >= everywhere.minNodes();
    if (found) {
      boolean isEverywhere = failing.size() >= EVERYWHERE * judged.size();
      if (isEverywhere || failing.size() > SITES) {
        findings.accept(everywhere(start, zone, judged.size(), failing, mean, isEverywhere));
      } else {
        for (Site site : failing) {
          findings.accept(single(start, zone, judged.size(), site, mean));
        }
      }
    }
    if (queries > 0) {
      double floor = Shares.floor(usual.mean(), queries);
      usual.learn(Shares.share(failed, queries), floor, Estimate.HOUR, found);
    }
  }

  private Finding everywhere(
      long start,
      Map<String, String> zone,
      int judged,
      List<Site> failing,
      double mean,
      boolean isEverywhere) {
    long queries = 0;
    long failed = 0;
    List<String> nodes = new ArrayList<>();
    List<String> sites = new ArrayList<>();
    for (Site site : failing) {
      queries += site.queries;
      failed += site.failed;
      nodes.addAll(site.nodes);
      sites.add(site.name);
    }
    double share = Shares.share(failed, queries);
    boolean critical = isEverywhere && everywhere.isCritical(Shares.lowerBound(failed, queries));
    String where = isEverywhere ? "everywhere" : "at many sites";
    String summary =
        String.format(
            Locale.ROOT,
            "Zone %s fails %s, at %d of %d sites: %.0f %% of the queries, usually %.1f %%.",
            zone.get("zone"),
            where,
            failing.size(),
            judged,
            share * 100,
            mean * 100);
    return Finding.of(
            start + spanMillis(),
            Rule.ZONE_FAILING,
            zone,
            Severity.atLeastWarning(critical),
            summary,
            Figure.of("failed_ratio", share, mean + everywhere.warning()),
            Figure.of("failed", failed),
            Figure.of("queries", queries),
            Figure.of("sites", failing.size(), everywhere.minNodes()),
            Figure.of("sites_judged", judged))
        .with(Finding.NODES, nodes)
        .with(Finding.SITES, sites);
  }

  private Finding single(long start, Map<String, String> zone, int judged, Site site, double mean) {
    double share = Shares.share(site.failed, site.queries);
    boolean critical = single.isCritical(Shares.lowerBound(site.failed, site.queries));
    Map<String, String> entity = new TreeMap<>(zone);
    entity.put("site", site.name);
    String summary =
        String.format(
            Locale.ROOT,
            "Zone %s fails at %s only: %.0f %% of the queries there; %d other sites resolve it.",
            zone.get("zone"),
            site.name,
            share * 100,
            judged - 1);
    return Finding.of(
            start + spanMillis(),
            Rule.ZONE_FAILING_SITE,
            entity,
            Severity.atLeastWarning(critical),
            summary,
            Figure.of("failed_ratio", share, mean + single.warning()),
            Figure.of("failed", site.failed),
            Figure.of("queries", site.queries),
            Figure.of("sites_judged", judged))
        .with(Finding.NODES, site.nodes)
        .with(Finding.SITES, List.of(site.name));
  }

  private void judgeNxdomain(
      long start,
      Map<String, String> zone,
      Collection<NodeStats> nodes,
      Map<String, double[]> memory,
      Consumer<Finding> findings) {
    long part = 0;
    long whole = 0;
    for (NodeStats node : nodes) {
      part += node.nxdomain;
      whole += node.responses;
    }
    if (whole == 0) {
      return;
    }
    Baseline baseline = Baseline.in(memory, NXDOMAIN);
    double share = Shares.share(part, whole);
    double floor = Shares.floor(baseline.mean(), whole);
    boolean learned = baseline.age(start) >= nxdomain.learning().toMillis();
    List<Usual> usual = learned ? baseline.compare(start, share, floor) : List.of();
    double lower = Shares.lowerBound(part, whole);
    boolean found =
        whole >= nxdomain.minQueries()
            && all(
                usual,
                one ->
                    one.z() >= nxdomain.zScore()
                        && lower >= one.mean() + nxdomain.warning()
                        && share >= 2 * one.mean());
    if (found) {
      Usual nearest = usual.get(0);
      boolean critical = nxdomain.isCritical(lower - nearest.mean());
      String summary =
          String.format(
              Locale.ROOT,
              "Zone %s: %.1f %% NXDOMAIN over %d nodes, usually %.1f %%.",
              zone.get("zone"),
              share * 100,
              nodes.size(),
              nearest.mean() * 100);
      double threshold = nearest.mean() + nxdomain.warning();
      findings.accept(
          Finding.of(
                  start + spanMillis(),
                  Rule.ZONE_NXDOMAIN,
                  zone,
                  Severity.atLeastWarning(critical),
                  summary,
                  new Figure("nxdomain_ratio", share, threshold, nearest),
                  Figure.of("count", part))
              .with(Finding.NODES, most(nodes, node -> node.nxdomain)));
    }
    baseline.learn(start, share, floor, found);
  }

  private void judgeRate(
      long start,
      Map<String, String> zone,
      Collection<NodeStats> nodes,
      Map<String, double[]> memory,
      Consumer<Finding> findings) {
    double seconds = spanMillis() / 1000.0;
    double value = nodes.stream().mapToLong(node -> node.queries).sum() / seconds;
    Baseline baseline = Baseline.in(memory, RATE);
    double mean = Math.max(baseline.mean(), 0);
    double floor = Math.max(0.1, Math.max(0.1 * mean, Math.sqrt(mean / seconds)));
    double least = rate.minQueries() / seconds;
    // The first morning of a zone is no flood.
    boolean learned = baseline.age(start) >= rate.learning().toMillis();
    List<Usual> usual = learned ? baseline.compare(start, value, floor) : List.of();
    boolean high =
        all(
            usual,
            one ->
                one.z() >= rate.zScore()
                    && value >= one.mean() * rate.warning()
                    && value - one.mean() >= least);
    boolean low =
        all(
            usual,
            one ->
                -one.z() >= rate.zScore() / 2 && value <= one.mean() * LOW && one.mean() >= least);
    if (high || low) {
      Usual nearest = usual.get(0);
      boolean critical = high && rate.isCritical(value / Math.max(nearest.mean(), 1e-9));
      String summary =
          String.format(
              Locale.ROOT,
              "Zone %s: %.1f queries per second over %d nodes, usually %.1f.",
              zone.get("zone"),
              value,
              nodes.size(),
              nearest.mean());
      double threshold = nearest.mean() * (high ? rate.warning() : LOW);
      findings.accept(
          Finding.of(
                  start + spanMillis(),
                  Rule.ZONE_QUERY_RATE,
                  zone,
                  high ? Severity.atLeastWarning(critical) : Severity.INFO,
                  summary,
                  new Figure("query_rate", value, threshold, nearest))
              .with(Finding.NODES, most(nodes, node -> node.queries)));
    }
    baseline.learn(start, value, floor, high || low);
  }

  private static boolean all(List<Usual> usual, java.util.function.Predicate<Usual> condition) {
    return !usual.isEmpty() && usual.stream().allMatch(condition);
  }

  /** Returns the names of the nodes with the most, most first. */
  private static List<String> most(
      Collection<NodeStats> nodes, java.util.function.ToLongFunction<NodeStats> count) {
    return nodes.stream()
        .filter(node -> count.applyAsLong(node) > 0)
        .sorted((a, b) -> Long.compare(count.applyAsLong(b), count.applyAsLong(a)))
        .limit(5)
        .map(node -> node.node)
        .toList();
  }
}
