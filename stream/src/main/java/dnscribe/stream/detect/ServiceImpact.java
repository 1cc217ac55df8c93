package dnscribe.stream.detect;

import dnscribe.stream.config.RuleSettings;
import dnscribe.stream.detect.ProbeCells.OpenAlert;
import java.io.Serializable;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.Consumer;

/**
 * Rule {@code service_impact}: what clients see of a service that fails by a probe's verdict. It
 * compares the failures of the service's zone with what is usual, and the time since which clients
 * see them with the time at which the probe's alert fired.
 *
 * <p>Failures are queries without an answer or with an error, and NXDOMAIN beyond its usual share.
 */
final class ServiceImpact implements Serializable {
  private static final long MINUTE_MS = 60_000;

  /** Minutes whose failures are stated, and after which clients are over an incident. */
  private static final int MINUTES = 5;

  private static final long RECENT_MS = MINUTES * MINUTE_MS;

  /** A share that is as it has been for so long is the usual one. */
  private static final long LONGEST_MS = 24 * 60 * MINUTE_MS;

  /** A probe repeats its alert each hour unless it is told otherwise. */
  private static final long FORGET_MS = 3 * 60 * MINUTE_MS;

  /**
   * Name in a zone's memory for the incident: minutes in a row with more failures than usual, with
   * the columns below.
   */
  private static final String INCIDENT = "impact/incident";

  private static final int START = 0;

  /** End of the newest minute with more failures than usual. */
  private static final int END = 1;

  private static final int QUERIES = 2;
  private static final int FAILED = 3;

  /** Usual shares of failures and of NXDOMAIN at its start. */
  private static final int USUAL = 4;

  private static final int NXDOMAIN = 5;

  /** Most clients of a minute. */
  private static final int CLIENTS = 6;

  /** Whether it is more than chance: 0 or 1. */
  private static final int VISIBLE = 7;

  private static final int COLUMNS = 8;

  /** Name in a zone's memory for the last minutes: start, queries, and failures of each. */
  private static final String RECENT = "impact/recent";

  private static final int RECENT_COLUMNS = 3;

  private final RuleSettings settings;

  ServiceImpact(RuleSettings settings) {
    this.settings = settings;
  }

  /**
   * Sums of a zone.
   *
   * @param usual share of failures
   */
  private record Sums(long queries, long failed, double usual) {
    double share() {
      return Shares.share(failed, queries);
    }
  }

  /**
   * Judges a minute of a zone.
   *
   * @param usual shares of failures and of NXDOMAIN
   * @param cells of probes' alerts, by name
   * @param findings gets one for each service with a verdict
   */
  void judge(
      long start,
      Map<String, String> zone,
      double[] usual,
      Collection<NodeStats> nodes,
      Map<String, long[]> cells,
      Map<String, double[]> memory,
      Consumer<Finding> findings) {
    cells.forEach((name, values) -> ProbeCells.remember(name, values, memory));
    Map<String, List<OpenAlert>> services = services(start + MINUTE_MS, memory);
    double[] incident = update(start, usual, nodes, memory, !services.isEmpty());
    // A zone without windows is reported once, not for each vantage.
    boolean isKnown = memory.containsKey(RECENT);
    if (!isKnown && !zone.get("vantage").equals("client")) {
      return;
    }
    Sums sums = recent(start, incident, usual[0], memory.get(RECENT));
    services.forEach(
        (service, alerts) -> {
          Finding finding = finding(start, zone.get("zone"), service, alerts, incident, sums);
          findings.accept(withNodes(finding, nodes));
        });
  }

  /** Returns the alerts that fire at {@code now} by their service; forgets those of lost probes. */
  private static Map<String, List<OpenAlert>> services(long now, Map<String, double[]> memory) {
    Map<String, List<OpenAlert>> services = new TreeMap<>();
    for (String name : new TreeSet<>(memory.keySet())) {
      if (ProbeCells.isProbe(name)) {
        OpenAlert alert = ProbeCells.open(name, memory.get(name));
        if (now - alert.last() > FORGET_MS) {
          memory.remove(name);
        } else {
          services.computeIfAbsent(alert.service(), key -> new ArrayList<>()).add(alert);
        }
      }
    }
    return services;
  }

  /** Adds a minute to what is remembered. Returns the incident that clients see or saw, or null. */
  private double[] update(
      long start,
      double[] usual,
      Collection<NodeStats> nodes,
      Map<String, double[]> memory,
      boolean isReported) {
    double[] incident = memory.get(INCIDENT);
    if (incident != null
        && ((start - incident[END] >= RECENT_MS && !isReported)
            || start - incident[START] >= LONGEST_MS)) {
      memory.remove(INCIDENT);
      incident = null;
    }
    double failures = incident == null ? usual[0] : incident[USUAL];
    double nxdomain = incident == null ? usual[1] : incident[NXDOMAIN];
    long queries = 0;
    long failed = 0;
    long clients = 0;
    double excess = 0;
    for (NodeStats node : nodes) {
      queries += node.queries;
      failed += node.failed;
      clients += node.clients;
      excess += node.nxdomain - nxdomain * node.responses;
    }
    if (queries == 0) {
      return visible(incident);
    }
    failed = Math.min(queries, failed + Math.round(Math.max(0, excess)));
    double[] recent =
        memory.computeIfAbsent(RECENT, key -> new double[MINUTES * RECENT_COLUMNS]).clone();
    int slot = (int) Math.floorMod(start / MINUTE_MS, (long) MINUTES) * RECENT_COLUMNS;
    recent[slot] = start;
    recent[slot + 1] = queries;
    recent[slot + 2] = failed;
    memory.put(RECENT, recent);
    if (Shares.share(failed, queries) >= failures + settings.warning()) {
      incident = incident == null ? begin(start, failures, nxdomain) : incident.clone();
      extend(incident, start, queries, failed, clients);
      memory.put(INCIDENT, incident);
    } else if (visible(incident) == null) {
      memory.remove(INCIDENT);
    }
    return visible(incident);
  }

  private static double[] begin(long start, double failures, double nxdomain) {
    double[] incident = new double[COLUMNS];
    incident[START] = start;
    incident[USUAL] = failures;
    incident[NXDOMAIN] = nxdomain;
    return incident;
  }

  private void extend(double[] incident, long start, long queries, long failed, long clients) {
    incident[END] = start + MINUTE_MS;
    incident[QUERIES] += queries;
    incident[FAILED] += failed;
    incident[CLIENTS] = Math.max(incident[CLIENTS], (double) clients);
    double lower = Shares.lowerBound((long) incident[FAILED], (long) incident[QUERIES]);
    if (incident[QUERIES] >= settings.minQueries()
        && lower >= incident[USUAL] + settings.warning()) {
      incident[VISIBLE] = 1;
    }
  }

  private static double[] visible(double[] incident) {
    return incident != null && incident[VISIBLE] > 0 ? incident : null;
  }

  /** Returns the sums of the last minutes; of those of the incident, while there is one. */
  private static Sums recent(long start, double[] incident, double usual, double[] recent) {
    long queries = 0;
    long failed = 0;
    double first = start - RECENT_MS;
    if (incident != null && start < incident[END] + RECENT_MS) {
      first = Math.max(first, incident[START] - 1);
    }
    for (int slot = 0; recent != null && slot < recent.length; slot += RECENT_COLUMNS) {
      if (recent[slot] > first) {
        queries += (long) recent[slot + 1];
        failed += (long) recent[slot + 2];
      }
    }
    return new Sums(queries, failed, incident == null ? usual : incident[USUAL]);
  }

  private Finding finding(
      long start,
      String zone,
      String service,
      List<OpenAlert> alerts,
      double[] incident,
      Sums sums) {
    long now = start + MINUTE_MS;
    long fired = alerts.stream().mapToLong(OpenAlert::fired).min().orElse(now);
    List<String> rules = alerts.stream().map(OpenAlert::rule).distinct().sorted().toList();
    String verdict = service + " (" + String.join(", ", rules) + ")";
    boolean isSeen = incident != null && now - incident[END] < RECENT_MS;
    double visible = incident == null ? 0 : (incident[END] - incident[START]) / 1000;
    List<Figure> figures = new ArrayList<>();
    if (sums.queries > 0) {
      double threshold = sums.usual + settings.warning();
      figures.add(Figure.of("passive_failure_ratio", sums.share(), threshold));
    }
    figures.add(Figure.of("user_visible_seconds", visible));
    if (incident != null) {
      figures.add(Figure.of("detection_seconds", (fired - incident[START]) / 1000));
    }
    figures.add(Figure.of("failed", sums.failed));
    figures.add(Figure.of("queries", sums.queries));
    if (incident != null && incident[CLIENTS] > 0) {
      figures.add(Figure.of("clients", incident[CLIENTS]));
    }
    Severity severity = Severity.INFO;
    if (isSeen) {
      double lower = Shares.lowerBound(sums.failed, sums.queries);
      severity = Severity.atLeastWarning(settings.isCritical(lower));
    }
    String summary =
        isSeen
            ? seen(verdict, zone, fired, incident, sums)
            : unseen(verdict, zone, visible, incident, sums);
    Map<String, String> entity = Map.of("service", service, "zone", zone);
    return Finding.of(
        now, Rule.SERVICE_IMPACT, entity, severity, summary, figures.toArray(new Figure[0]));
  }

  private static String seen(
      String verdict, String zone, long fired, double[] incident, Sums sums) {
    long before = Math.round((fired - incident[START]) / 1000);
    return String.format(
        Locale.ROOT,
        "Service %s: clients see it. %.0f %% of the queries of zone %s fail, usually %.1f %%, for"
            + " %.0f s by now; the probe's alert fired %d s %s.",
        verdict,
        sums.share() * 100,
        zone,
        sums.usual * 100,
        (incident[END] - incident[START]) / 1000,
        Math.abs(before),
        before < 0 ? "before" : "after the first failures");
  }

  private static String unseen(
      String verdict, String zone, double visible, double[] incident, Sums sums) {
    String text =
        sums.queries == 0
            ? String.format(
                "Service %s: no node saw queries of zone %s in the last %d minutes",
                verdict, zone, MINUTES)
            : String.format(
                Locale.ROOT,
                "Service %s: clients see no more failures of zone %s than usual, %.1f %% of %d"
                    + " queries",
                verdict,
                zone,
                sums.share() * 100,
                sums.queries);
    if (incident == null) {
      return text + ".";
    }
    Instant end = Instant.ofEpochMilli((long) incident[END]);
    return text + String.format(Locale.ROOT, "; they did for %.0f s until %s.", visible, end);
  }

  /** Adds where queries failed in this minute, if clients see the failures. */
  private static Finding withNodes(Finding finding, Collection<NodeStats> nodes) {
    if (finding.severity() == Severity.INFO) {
      return finding;
    }
    List<NodeStats> failing =
        nodes.stream().filter(node -> node.failed > 0 || node.nxdomain > 0).toList();
    return finding
        .with(Finding.NODES, failing.stream().map(node -> node.node).toList())
        .with(Finding.SITES, new TreeSet<>(failing.stream().map(node -> node.site).toList()));
  }
}
