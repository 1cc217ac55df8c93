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
 * Rule {@code zone_new_source}: queries of a zone from countries or autonomous systems that it
 * never had in its learning period. Zones that always get new ones, as popular ones do, have no
 * alerts.
 */
final class SourceDetector implements Detector {
  /** Prefixes of the names of cells. */
  static final String COUNTRY = "country/";

  static final String NETWORK = "asn/";

  private static final long SPAN = 300_000;
  private static final long HOUR = 3_600_000;
  private static final long DAY = 24 * HOUR;

  /** Most sources that a zone remembers; one with more has no alerts. */
  private static final int SOURCES = 1024;

  private static final String ZONE = "";
  private static final int FIRST = 0;
  private static final int FULL = 1;

  /** New countries, and new networks, in the second half of the learning period. */
  private static final int LATE = 2;

  private static final int COLUMNS = 4;

  // Columns of a source: first and last seen, and queries within the first hour.
  private static final int LAST = 1;
  private static final int COUNT = 2;
  private static final int IS_NEW = 3;

  private final RuleSettings settings;

  SourceDetector(Detect settings) {
    this.settings = settings.rule(Rule.ZONE_NEW_SOURCE);
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
    return 30 * DAY;
  }

  @Override
  public void judge(
      long start,
      long since,
      String entity,
      Map<String, long[]> cells,
      Map<String, double[]> memory,
      Consumer<Finding> findings) {
    double[] zone =
        memory.computeIfAbsent(
            ZONE,
            key -> {
              double[] columns = new double[COLUMNS];
              columns[FIRST] = start;
              return columns;
            });
    long learning = settings.learning().toMillis();
    double age = start - zone[FIRST];
    long queries = 0;
    List<String> found = new ArrayList<>();
    double count = 0;
    for (var cell : new TreeMap<>(cells).entrySet()) {
      long here = cell.getValue()[0];
      boolean isCountry = cell.getKey().startsWith(COUNTRY);
      queries += isCountry ? here : 0;
      double[] source = memory.get(cell.getKey());
      if (source == null) {
        if (memory.size() > SOURCES) {
          zone[FULL] = 1;
          continue;
        }
        source = new double[] {start, start, 0, age >= learning ? 1 : 0};
        memory.put(cell.getKey(), source);
        int late = LATE + (isCountry ? 0 : 1);
        zone[late] += age >= learning / 2.0 && age < learning ? 1 : 0;
      }
      source[LAST] = start;
      source[COUNT] += here;
      boolean changesOften = zone[LATE + (isCountry ? 0 : 1)] * 2 * DAY >= Math.max(learning, DAY);
      if (source[IS_NEW] == 1 && start - source[FIRST] >= DAY) {
        source[IS_NEW] = 0;
      }
      if (source[IS_NEW] == 1
          && !changesOften
          && zone[FULL] == 0
          && source[COUNT] >= settings.minQueries()) {
        found.add(cell.getKey());
        count += here;
      }
    }
    if (!found.isEmpty()) {
      findings.accept(finding(start, entity, found, count, Math.max((double) queries, 1)));
    }
    memory
        .entrySet()
        .removeIf(one -> !one.getKey().isEmpty() && start - one.getValue()[LAST] > 90 * DAY);
  }

  private Finding finding(
      long start, String zone, List<String> found, double count, double queries) {
    List<String> sources = new ArrayList<>();
    for (String source : found) {
      sources.add(
          source.startsWith(COUNTRY)
              ? source.substring(COUNTRY.length())
              : "AS" + source.substring(NETWORK.length()));
    }
    double share = Math.min(1, count / queries);
    String summary =
        String.format(
            Locale.ROOT,
            "Zone %s is queried from where it never was: %s, %.1f %% of its queries.",
            zone,
            String.join(", ", sources.subList(0, Math.min(5, sources.size()))),
            share * 100);
    boolean isCountry = found.stream().anyMatch(source -> source.startsWith(COUNTRY));
    Severity severity =
        settings.isCritical(share)
            ? Severity.CRITICAL
            : isCountry && share >= settings.warning() ? Severity.WARNING : Severity.INFO;
    return Finding.of(
            start + SPAN,
            Rule.ZONE_NEW_SOURCE,
            Map.of("zone", zone),
            severity,
            summary,
            Figure.of("new_source_ratio", share, settings.warning()),
            Figure.of("count", count))
        .with(Finding.SOURCES, sources);
  }
}
