package dnscribe.stream.detect;

import dnscribe.stream.config.Detect;
import dnscribe.stream.config.RuleSettings;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.Consumer;

/**
 * Rule {@code site_disagreement}: what probes at several sites see of the targets of one service:
 * whether they work, answers, and certificates.
 *
 * <p>A target that fails at some sites only is found at once. Answers and certificates may differ
 * by site for good, as those of a CDN do, so they must have been alike for long before a difference
 * counts; one that lasts is learned. After an ordinary change caches differ until the old TTL has
 * passed.
 */
final class SiteDetector implements Detector {
  static final long SPAN = 300_000;

  /** Aspects of a target. The second column of the first is the number of failures. */
  static final String REACHED = "reached";

  static final String ANSWERS = "answers";
  static final String CERTIFICATE = "certificate";

  private static final int COUNT = 0;

  /** Failures, or the TTL in seconds; of equal cells the maximum, so 1 for those that failed. */
  private static final int SECOND = 1;

  /** Share of a site's measurements that must agree. */
  private static final double CLEAR = 0.8;

  private static final double STABLE = 0.95;
  private static final double DAY = SPAN / 86_400_000.0;

  /** Factor for the weight of a span in which what was alike differs. */
  private static final double DISTRUST = 1.0 / 8;

  /** Factor for the known TTL after a span with a smaller one: a tenth is forgotten in an hour. */
  private static final double FORGET = 0.99;

  /** Most targets and aspects of a service that are remembered. */
  private static final int REMEMBERED = 128;

  private static final int TEXTS = 3;

  // Columns of the memory of a target's aspect.
  private static final int FIRST = 0;
  private static final int AGREEMENT = 1;
  private static final int DIFFERS_SINCE = 2;
  private static final int TTL = 3;
  private static final int SPANS = 4;
  private static final int LAST = 5;
  private static final int COLUMNS = 6;

  private final RuleSettings settings;

  SiteDetector(Detect settings) {
    this.settings = settings.rule(Rule.SITE_DISAGREEMENT);
  }

  /** What a site sees of one target. */
  private static final class View {
    private long good;
    private long failed;
    private final TreeSet<String> reasons = new TreeSet<>();

    /** Texts by value, for each aspect. */
    private final Map<String, TreeMap<String, String>> values = new TreeMap<>();

    private long ttl;

    boolean fails() {
      return failed >= CLEAR * (good + failed);
    }

    boolean works() {
      return good >= CLEAR * (good + failed);
    }

    Map<String, String> of(String aspect) {
      return values.getOrDefault(aspect, new TreeMap<>());
    }
  }

  /** Targets that differ, as sentences, and the sites that differ from most. */
  private static final class Differences {
    private final List<String> texts = new ArrayList<>();
    private final TreeSet<String> sites = new TreeSet<>();
    private final TreeSet<String> names = new TreeSet<>();
    private double seconds;

    void add(String text, String target, Collection<String> different) {
      texts.add(text);
      sites.addAll(different);
      if (target.startsWith("dns ")) {
        names.add(target.split(" ", -1)[1]);
      }
    }
  }

  @Override
  public long spanMillis() {
    return SPAN;
  }

  @Override
  public int maxEntities() {
    return 128;
  }

  @Override
  public long forgetMillis() {
    return 3 * 86_400_000L;
  }

  @Override
  public void judge(
      long start,
      long since,
      String service,
      Map<String, long[]> cells,
      Map<String, double[]> memory,
      Consumer<Finding> findings) {
    memory.values().removeIf(aspect -> start - aspect[LAST] > forgetMillis());
    Differences differences = new Differences();
    views(cells)
        .forEach(
            (target, sites) -> {
              sites.values().removeIf(view -> view.good + view.failed < settings.minQueries());
              if (sites.size() > 1) {
                reached(target, sites, differences);
                compare(start, target, ANSWERS, sites, memory, differences);
                compare(start, target, CERTIFICATE, sites, memory, differences);
              }
            });
    if (!differences.texts.isEmpty()) {
      findings.accept(finding(start, service, differences));
    }
  }

  private static Map<String, Map<String, View>> views(Map<String, long[]> cells) {
    Map<String, Map<String, View>> targets = new TreeMap<>();
    cells.forEach(
        (name, values) -> {
          String[] parts = Cell.split(name);
          View view =
              targets
                  .computeIfAbsent(parts[0], key -> new TreeMap<>())
                  .computeIfAbsent(parts[1], key -> new View());
          if (!parts[2].equals(REACHED)) {
            view.values.computeIfAbsent(parts[2], key -> new TreeMap<>()).put(parts[3], parts[4]);
            view.ttl = Math.max(view.ttl, values[SECOND]);
          } else if (values[SECOND] > 0) {
            view.failed += values[COUNT];
            view.reasons.add(parts[3]);
          } else {
            view.good += values[COUNT];
          }
        });
    return targets;
  }

  private static void reached(String target, Map<String, View> sites, Differences differences) {
    List<String> failing = new ArrayList<>();
    List<String> working = new ArrayList<>();
    TreeSet<String> reasons = new TreeSet<>();
    sites.forEach(
        (site, view) -> {
          if (view.fails()) {
            failing.add(site);
            reasons.addAll(view.reasons);
          } else if (view.works()) {
            working.add(site);
          }
        });
    if (!failing.isEmpty() && !working.isEmpty()) {
      String text =
          String.format(
              Locale.ROOT,
              "%s fails at %s (%s) and works at %s",
              target,
              list(failing),
              list(reasons),
              list(working));
      differences.add(text, target, failing);
    }
  }

  private void compare(
      long start,
      String target,
      String aspect,
      Map<String, View> sites,
      Map<String, double[]> memory,
      Differences differences) {
    Map<String, Map<String, String>> values = new TreeMap<>();
    long ttl = 0;
    for (var site : sites.entrySet()) {
      Map<String, String> own = site.getValue().of(aspect);
      if (!own.isEmpty()) {
        values.put(site.getKey(), own);
        ttl = Math.max(ttl, aspect.equals(ANSWERS) ? site.getValue().ttl : 0);
      }
    }
    String key = Cell.join(target, aspect);
    if (values.size() < 2 || (memory.size() >= REMEMBERED && !memory.containsKey(key))) {
      return;
    }
    double[] known = memory.computeIfAbsent(key, unused -> new double[COLUMNS]);
    if (known[SPANS] == 0) {
      known[FIRST] = start;
      known[AGREEMENT] = 1;
    }
    known[SPANS]++;
    known[LAST] = start;
    String usual = majority(values);
    TreeSet<String> different = new TreeSet<>(values.keySet());
    different.removeIf(site -> isLike(values.get(site), values.get(usual)));
    boolean differs = !different.isEmpty();
    if (!differs) {
      known[DIFFERS_SINCE] = 0;
      // Caches count down: only the largest is that of the zone.
      known[TTL] = Math.max((double) ttl, known[TTL] * FORGET);
    } else if (known[DIFFERS_SINCE] == 0) {
      known[DIFFERS_SINCE] = start;
    }
    boolean isStable =
        start - known[FIRST] >= settings.learning().toMillis() && known[AGREEMENT] >= STABLE;
    double lasts = start + SPAN - known[DIFFERS_SINCE];
    if (differs && isStable && lasts >= known[TTL] * 1000 + SPAN) {
      List<String> parts = new ArrayList<>();
      for (String site : different) {
        parts.add(list(values.get(site).values()) + " at " + site);
      }
      TreeSet<String> others = new TreeSet<>(values.keySet());
      others.removeAll(different);
      parts.add(list(values.get(usual).values()) + " at " + list(others));
      String what = aspect.equals(ANSWERS) ? " is " : " has the certificate ";
      differences.add(target + what + String.join(", ", parts), target, different);
      differences.seconds = Math.max(differences.seconds, lasts / 1000);
    }
    double weight = differs && isStable ? DAY * DISTRUST : Math.max(DAY, 1 / (known[SPANS] + 1));
    known[AGREEMENT] += weight * ((differs ? 0 : 1) - known[AGREEMENT]);
  }

  /** Returns the site that most sites are like; of several, the first. */
  private static String majority(Map<String, Map<String, String>> values) {
    String best = "";
    long most = -1;
    for (var site : values.entrySet()) {
      long like = values.values().stream().filter(one -> isLike(one, site.getValue())).count();
      if (like > most) {
        most = like;
        best = site.getKey();
      }
    }
    return best;
  }

  private static boolean isLike(Map<String, String> one, Map<String, String> other) {
    return one.keySet().stream().anyMatch(other::containsKey);
  }

  private static Finding finding(long start, String service, Differences differences) {
    List<String> texts = differences.texts;
    int more = texts.size() - TEXTS;
    String summary =
        "Sites disagree about service "
            + service
            + ": "
            + String.join("; ", texts.subList(0, Math.min(TEXTS, texts.size())))
            + (more > 0 ? "; and " + more + " more." : ".");
    Finding finding =
        Finding.of(
            start + SPAN,
            Rule.SITE_DISAGREEMENT,
            Map.of("service", service),
            Severity.WARNING,
            summary,
            Figure.of("differences", texts.size()),
            Figure.of("sites", differences.sites.size()),
            Figure.of("differs_seconds", differences.seconds));
    finding = finding.with(Finding.SITES, differences.sites);
    return differences.names.isEmpty() ? finding : finding.with(Finding.QNAMES, differences.names);
  }

  private static String list(Collection<String> texts) {
    List<String> all = new ArrayList<>(texts);
    return all.size() <= TEXTS
        ? String.join(", ", all)
        : String.join(", ", all.subList(0, TEXTS)) + " and " + (all.size() - TEXTS) + " more";
  }
}
