package dnscribe.stream.detect;

import dnscribe.stream.config.Detect;
import dnscribe.stream.config.RuleSettings;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.Consumer;

/**
 * Rules {@code answer_drift} and {@code zone_hijack}: the addresses and TTLs of one name and type,
 * by site.
 *
 * <p>Only names whose answers were alike at all sites for long can drift, so names that a CDN or a
 * geographic DNS answers differently everywhere never do. Answers are alike if they share a network
 * (/24, /48) or an AS. After an ordinary change sites differ until the old TTL has passed, so drift
 * begins after that.
 */
final class AnswerDetector implements Detector {
  static final int COUNT = 0;
  static final int TTL = 1;

  /** Stands for the addresses of an answer without any: no such name, or no such type. */
  static final String NOTHING = "-";

  /** Most sites and networks of a name that are remembered. */
  static final int NETWORKS = 16;

  private static final int SITES = 32;
  private static final double STABLE = 0.95;
  static final long SPAN = 300_000;

  /** Weight of a span: a memory of one day. */
  private static final double DAY = SPAN / 86_400_000.0;

  /** Factor for the weight of a span in which a stable name drifts: it is adopted after hours. */
  private static final double DISTRUST = 1.0 / 8;

  /** Answers of a site within the hour before its largest TTL is that of the zone. */
  private static final int TTL_ANSWERS = 20;

  static final String NAME = "";
  static final String NETWORK = "net/";
  private static final String SITE = "site/";

  // Columns of the name's own memory.
  static final int FIRST = 0;
  private static final int AGREEMENT = 1;
  private static final int DIFFERS_SINCE = 2;
  private static final int TTL_AGREEMENT = 3;
  private static final int TTL_DIFFERS_SINCE = 4;
  static final int KNOWN_TTL = 5;
  private static final int SPANS = 6;
  static final int CDN = 7;
  private static final int COLUMNS = 8;

  private final RuleSettings drift;
  private final TakeoverRule takeover;

  AnswerDetector(Detect settings) {
    drift = settings.rule(Rule.ANSWER_DRIFT);
    takeover = new TakeoverRule(settings.rule(Rule.ZONE_HIJACK));
  }

  static String entity(String zone, String qname, String qtype) {
    return Cell.join(zone, qname, qtype);
  }

  /** Returns the name of a cell; {@code asn} may be empty. */
  static String name(String site, String network, String asn) {
    return Cell.join(site, network, asn);
  }

  /** Answers at one site. */
  private static final class Site {
    private final Set<String> networks = new TreeSet<>();
    private long count;
    private long ttl;

    boolean isLike(Site other) {
      return networks.stream().anyMatch(other.networks::contains);
    }
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
    return 3 * 86_400_000L;
  }

  @Override
  public void judge(
      long start,
      long since,
      String entity,
      Map<String, long[]> cells,
      Map<String, double[]> memory,
      Consumer<Finding> findings) {
    if (memory.isEmpty() && cells.keySet().stream().allMatch(AnswerDetector::isNothing)) {
      return;
    }
    double[] name = memory.computeIfAbsent(NAME, key -> new double[COLUMNS]);
    if (name[SPANS] == 0) {
      name[FIRST] = start;
      name[AGREEMENT] = 1;
      name[TTL_AGREEMENT] = 1;
    }
    name[SPANS]++;
    takeover.judge(start, entity, cells, memory, findings);
    Map<String, Site> sites = new TreeMap<>();
    cells.forEach(
        (cell, values) -> {
          String[] parts = Cell.split(cell);
          Site site = sites.computeIfAbsent(parts[0], key -> new Site());
          site.networks.add(parts[1]);
          if (!parts[2].isEmpty()) {
            site.networks.add("AS" + parts[2]);
          }
          site.count = Math.max(site.count, values[COUNT]);
          site.ttl = Math.max(site.ttl, values[TTL]);
        });
    sites.values().removeIf(site -> site.count < drift.minQueries());
    if (sites.size() > 1) {
      judgeAnswers(start, entity, sites, name, findings);
      judgeTtl(start, entity, sites, name, memory, findings);
    }
  }

  private void judgeAnswers(
      long start,
      String entity,
      Map<String, Site> sites,
      double[] name,
      Consumer<Finding> findings) {
    Site usual = majority(sites);
    List<String> different = new ArrayList<>();
    sites.forEach(
        (site, answers) -> {
          if (!answers.isLike(usual)) {
            different.add(site);
          }
        });
    boolean differs = !different.isEmpty();
    if (!differs) {
      name[DIFFERS_SINCE] = 0;
    } else if (name[DIFFERS_SINCE] == 0) {
      name[DIFFERS_SINCE] = start;
    }
    double settled = Math.max(2 * SPAN, name[KNOWN_TTL] * 1000 + SPAN);
    if (differs
        && isStable(name, start, name[AGREEMENT])
        && start + SPAN - name[DIFFERS_SINCE] >= settled) {
      for (String site : different.subList(0, Math.min(5, different.size()))) {
        findings.accept(
            finding(
                start,
                entity,
                site,
                Severity.WARNING,
                String.format(
                    Locale.ROOT,
                    "%s gets other answers for %s than %d other sites, longer than the TTL of"
                        + " %.0f s: %s instead of %s.",
                    site,
                    title(entity),
                    sites.size() - different.size(),
                    name[KNOWN_TTL],
                    text(sites.get(site)),
                    text(usual)),
                Figure.of("differs_seconds", (start + SPAN - name[DIFFERS_SINCE]) / 1000.0),
                Figure.of("sites", different.size())));
      }
    }
    learn(name, start, AGREEMENT, differs);
  }

  private void judgeTtl(
      long start,
      String entity,
      Map<String, Site> sites,
      double[] name,
      Map<String, double[]> memory,
      Consumer<Finding> findings) {
    // A cached answer has any TTL from 0 to the zone's, so only the largest of many tells that.
    Map<String, Double> largest = new TreeMap<>();
    sites.forEach(
        (site, answers) -> {
          if (memory.size() > NETWORKS + SITES && !memory.containsKey(SITE + site)) {
            return;
          }
          PeakTtl peak = PeakTtl.in(memory, SITE + site, 3_600_000);
          peak.add(start, answers.ttl, answers.count);
          if (peak.count() >= TTL_ANSWERS && !answers.networks.contains(NOTHING)) {
            largest.put(site, peak.value());
          }
        });
    if (largest.size() < 2) {
      return;
    }
    List<Double> sorted = new ArrayList<>(largest.values());
    sorted.sort(null);
    double middle = sorted.get((sorted.size() - 1) / 2);
    List<String> different = new ArrayList<>();
    largest.forEach(
        (site, ttl) -> {
          if (ttl + 5 < middle / 2 || ttl > 2 * middle + 5) {
            different.add(site);
          }
        });
    boolean differs = !different.isEmpty();
    if (!differs) {
      name[TTL_DIFFERS_SINCE] = 0;
    } else if (name[TTL_DIFFERS_SINCE] == 0) {
      name[TTL_DIFFERS_SINCE] = start;
    }
    if (differs
        && isStable(name, start, name[TTL_AGREEMENT])
        && start + SPAN - name[TTL_DIFFERS_SINCE] >= 3_600_000) {
      for (String site : different.subList(0, Math.min(5, different.size()))) {
        findings.accept(
            finding(
                start,
                entity,
                site,
                Severity.INFO,
                String.format(
                    Locale.ROOT,
                    "%s gets a TTL of %.0f s for %s, other sites %.0f s.",
                    site,
                    largest.get(site),
                    title(entity),
                    middle),
                Figure.of("ttl_seconds", largest.get(site), middle)));
      }
    }
    learn(name, start, TTL_AGREEMENT, differs);
  }

  private boolean isStable(double[] name, long start, double agreement) {
    return start - name[FIRST] >= drift.learning().toMillis() && agreement >= STABLE;
  }

  private void learn(double[] name, long start, int column, boolean differs) {
    boolean drifts = differs && isStable(name, start, name[column]);
    double weight = drifts ? DAY * DISTRUST : Math.max(DAY, 1 / (name[SPANS] + 1));
    name[column] += weight * ((differs ? 0 : 1) - name[column]);
  }

  /** Returns the site to whose answers most sites' are like; of several, the first. */
  private static Site majority(Map<String, Site> sites) {
    Site best = null;
    long most = -1;
    for (Site site : sites.values()) {
      long like = sites.values().stream().filter(site::isLike).count();
      if (like > most) {
        most = like;
        best = site;
      }
    }
    return best;
  }

  private static boolean isNothing(String cell) {
    return Cell.split(cell)[1].equals(NOTHING);
  }

  @Override
  public boolean accepts(String cell, boolean isKnown) {
    // Names that never had an address are many, and say nothing.
    return isKnown || !isNothing(cell);
  }

  private static String text(Site site) {
    String text = String.join(", ", site.networks);
    return text.equals(NOTHING) ? "no address" : text;
  }

  static String title(String entity) {
    String[] parts = Cell.split(entity);
    return parts[1] + " " + parts[2];
  }

  private static Finding finding(
      long start,
      String entity,
      String site,
      Severity severity,
      String summary,
      Figure... figures) {
    String[] parts = Cell.split(entity);
    return Finding.of(
            start + SPAN,
            Rule.ANSWER_DRIFT,
            Map.of("zone", parts[0], "site", site),
            severity,
            summary,
            figures)
        .with(Finding.QNAMES, List.of(parts[1]))
        .with(Finding.SITES, List.of(site));
  }
}
