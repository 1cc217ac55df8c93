package dnscribe.stream.detect;

import dnscribe.stream.config.Detect;
import dnscribe.stream.config.RuleSettings;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;

/**
 * Rule {@code dnssec_disagreement}: answers for one name and type to queries with the DO bit, by
 * resolver.
 *
 * <p>A resolver that answers SERVFAIL where others answer with AD has a problem of its own: trust
 * anchors, clock, or a stale cache. One without AD where others have it does not validate. SERVFAIL
 * where the others do not validate is a problem of the zone's signatures.
 */
final class DnssecDetector implements Detector {
  static final int SERVFAIL = 0;
  static final int VALIDATED = 1;
  static final int PLAIN = 2;
  static final int COLUMNS = 3;

  private static final int LAST = 3;
  private static final long SPAN = 300_000;

  /** Share of a resolver's answers that must agree. */
  private static final double CLEAR = 0.8;

  private static final int RESOLVERS = 32;

  private final RuleSettings settings;

  DnssecDetector(Detect settings) {
    this.settings = settings.rule(Rule.DNSSEC_DISAGREEMENT);
  }

  static String entity(String zone, String qname, String qtype) {
    return Cell.join(zone, qname, qtype);
  }

  @Override
  public long spanMillis() {
    return SPAN;
  }

  @Override
  public int sums() {
    return COLUMNS;
  }

  @Override
  public int maxEntities() {
    return 512;
  }

  @Override
  public long forgetMillis() {
    return 3_600_000;
  }

  @Override
  public void judge(
      long start,
      long since,
      String entity,
      Map<String, long[]> cells,
      Map<String, double[]> memory,
      Consumer<Finding> findings) {
    // Counts fade by half a span, and a resolver that is not asked any more is not compared.
    memory.values().forEach(this::fade);
    memory.values().removeIf(counts -> start - counts[LAST] > 3 * SPAN);
    new TreeMap<>(cells)
        .forEach(
            (resolver, values) -> {
              if (memory.size() < RESOLVERS || memory.containsKey(resolver)) {
                double[] counts = memory.computeIfAbsent(resolver, key -> new double[4]);
                for (int i = 0; i < COLUMNS; i++) {
                  counts[i] += values[i];
                }
                counts[LAST] = start;
              }
            });
    List<List<String>> by = List.of(new ArrayList<>(), new ArrayList<>(), new ArrayList<>());
    new TreeMap<>(memory)
        .forEach(
            (resolver, counts) -> {
              double total = counts[SERVFAIL] + counts[VALIDATED] + counts[PLAIN];
              for (int kind = 0; kind < COLUMNS; kind++) {
                if (total >= settings.minQueries() && counts[kind] >= CLEAR * total) {
                  by.get(kind).add(resolver);
                }
              }
            });
    compare(start, entity, by, findings);
  }

  private void compare(
      long start, String entity, List<List<String>> by, Consumer<Finding> findings) {
    List<String> failing = by.get(SERVFAIL);
    List<String> validating = by.get(VALIDATED);
    List<String> plain = by.get(PLAIN);
    String[] parts = Cell.split(entity);
    String name = parts[1] + " " + parts[2];
    if (!failing.isEmpty() && validating.isEmpty() && !plain.isEmpty()) {
      String summary =
          String.format(
              Locale.ROOT,
              "%s: SERVFAIL at %s, answered without AD by %s: probably the signatures of %s are"
                  + " broken.",
              name,
              list(failing),
              list(plain),
              parts[0]);
      findings.accept(
          finding(start, Map.of("zone", parts[0]), Severity.WARNING, summary, parts[1], failing));
    }
    if (!validating.isEmpty()) {
      for (String resolver : failing) {
        String summary =
            String.format(
                Locale.ROOT,
                "%s answers SERVFAIL for %s, which is validated by %s.",
                resolver,
                name,
                list(validating));
        findings.accept(resolver(start, resolver, Severity.WARNING, summary, parts, validating));
      }
      for (String resolver : plain) {
        String summary =
            String.format(
                Locale.ROOT,
                "%s answers %s without AD, which is validated by %s.",
                resolver,
                name,
                list(validating));
        findings.accept(resolver(start, resolver, Severity.INFO, summary, parts, validating));
      }
    }
  }

  private static Finding resolver(
      long start,
      String resolver,
      Severity severity,
      String summary,
      String[] entity,
      List<String> others) {
    return finding(start, Map.of("resolver", resolver), severity, summary, entity[1], others)
        .with(Finding.ZONES, List.of(entity[0]));
  }

  private static Finding finding(
      long start,
      Map<String, String> entity,
      Severity severity,
      String summary,
      String qname,
      List<String> resolvers) {
    return Finding.of(
            start + SPAN,
            Rule.DNSSEC_DISAGREEMENT,
            entity,
            severity,
            summary,
            Figure.of("resolvers", resolvers.size()))
        .with(Finding.QNAMES, List.of(qname))
        .with(Finding.RESOLVERS, resolvers);
  }

  private static String list(List<String> names) {
    return names.size() <= 2
        ? String.join(" and ", names)
        : names.get(0) + " and " + (names.size() - 1) + " others";
  }

  private void fade(double[] counts) {
    for (int i = 0; i < COLUMNS; i++) {
      counts[i] /= 2;
    }
  }
}
