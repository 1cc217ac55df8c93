package dnscribe.stream.detect;

import static dnscribe.stream.detect.AnswerDetector.CDN;
import static dnscribe.stream.detect.AnswerDetector.COUNT;
import static dnscribe.stream.detect.AnswerDetector.FIRST;
import static dnscribe.stream.detect.AnswerDetector.KNOWN_TTL;
import static dnscribe.stream.detect.AnswerDetector.NAME;
import static dnscribe.stream.detect.AnswerDetector.NETWORK;
import static dnscribe.stream.detect.AnswerDetector.NETWORKS;
import static dnscribe.stream.detect.AnswerDetector.NOTHING;
import static dnscribe.stream.detect.AnswerDetector.SPAN;
import static dnscribe.stream.detect.AnswerDetector.TTL;

import dnscribe.stream.config.RuleSettings;
import java.io.Serializable;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Consumer;

/**
 * Rule {@code zone_hijack}, on the cells and memory of the {@link AnswerDetector}: learns the
 * networks and the TTL of a name, and finds answers that are strange in both.
 */
final class TakeoverRule implements Serializable {
  private static final long DAY_MS = 86_400_000;

  /** Time after which networks that are not answered any more are forgotten. */
  private static final long FORGET_MS = 3 * DAY_MS;

  /** Networks of a suspected takeover, with the time when they were first seen. */
  private static final String SUSPECT = "new/";

  private final RuleSettings settings;

  TakeoverRule(RuleSettings settings) {
    this.settings = settings;
  }

  void judge(
      long start,
      String entity,
      Map<String, long[]> cells,
      Map<String, double[]> memory,
      Consumer<Finding> findings) {
    double[] name = memory.get(NAME);
    long known = 0;
    long foreign = 0;
    long foreignTtl = 0;
    long ttl = 0;
    Set<String> old = new TreeSet<>();
    Set<String> strange = new TreeSet<>();
    Set<String> sites = new TreeSet<>();
    for (String key : memory.keySet()) {
      if (key.startsWith(NETWORK)) {
        old.add(key.substring(NETWORK.length()));
      }
    }
    for (var cell : cells.entrySet()) {
      String[] parts = Cell.split(cell.getKey());
      long count = cell.getValue()[COUNT];
      if (parts[1].equals(NOTHING)) {
        continue;
      }
      if (old.contains(parts[1]) || old.contains("AS" + parts[2])) {
        known += count;
        ttl = Math.max(ttl, cell.getValue()[TTL]);
      } else {
        foreign += count;
        foreignTtl = Math.max(foreignTtl, cell.getValue()[TTL]);
        strange.add(parts[1]);
        sites.add(parts[0]);
      }
    }
    boolean learned = start - name[FIRST] >= settings.learning().toMillis() && name[CDN] == 0;
    boolean ttlChanged = foreignTtl > 1.5 * name[KNOWN_TTL] || foreignTtl < name[KNOWN_TTL] / 2;
    boolean found =
        learned
            && !old.isEmpty()
            && foreign >= settings.minQueries()
            && foreign >= known
            && ttlChanged;
    if (found) {
      findings.accept(takeover(start, entity, foreignTtl, name, old, strange, sites));
    }
    learnNetworks(start, cells, memory, found);
    if (!found || name[KNOWN_TTL] == 0) {
      PeakTtl peak = PeakTtl.in(memory, "ttl", DAY_MS);
      peak.add(start, Math.max(ttl, foreignTtl), known + foreign);
      name[KNOWN_TTL] = peak.value();
    }
  }

  private Finding takeover(
      long start,
      String entity,
      long ttl,
      double[] name,
      Set<String> old,
      Set<String> strange,
      Set<String> sites) {
    String summary =
        String.format(
            Locale.ROOT,
            "%s has other addresses and another TTL at once: %s with %d s instead of %s with %.0f"
                + " s.",
            AnswerDetector.title(entity),
            String.join(", ", strange),
            ttl,
            String.join(", ", old),
            name[KNOWN_TTL]);
    String[] parts = Cell.split(entity);
    return Finding.of(
            start + SPAN,
            Rule.ZONE_HIJACK,
            Map.of("zone", parts[0]),
            Severity.atLeastWarning(sites.size() > 1),
            summary,
            Figure.of("ttl_seconds", ttl, name[KNOWN_TTL]),
            Figure.of("sites", sites.size()))
        .with(Finding.QNAMES, List.of(parts[1]))
        .with(Finding.SITES, sites)
        .with(Finding.ANSWERS, strange);
  }

  /** Learns the networks of the span; of a suspected takeover, only after a day. */
  private static void learnNetworks(
      long start, Map<String, long[]> cells, Map<String, double[]> memory, boolean suspected) {
    double[] name = memory.get(NAME);
    Set<String> now = new TreeSet<>();
    for (String cell : cells.keySet()) {
      String[] parts = Cell.split(cell);
      if (!parts[1].equals(NOTHING)) {
        now.add(parts[1]);
        if (!parts[2].isEmpty()) {
          now.add("AS" + parts[2]);
        }
      }
    }
    // What was not answered for three days is not the zone's any more.
    memory
        .entrySet()
        .removeIf(
            one ->
                (one.getKey().startsWith(NETWORK) || one.getKey().startsWith(SUSPECT))
                    && start - one.getValue()[0] > FORGET_MS);
    long networks = memory.keySet().stream().filter(key -> key.startsWith(NETWORK)).count();
    for (String network : now) {
      boolean isKnown = memory.containsKey(NETWORK + network);
      double[] suspect = memory.get(SUSPECT + network);
      if (!isKnown && suspected) {
        if (suspect == null && networks < NETWORKS) {
          memory.put(SUSPECT + network, new double[] {start, start});
          continue;
        }
        if (suspect == null || start - suspect[1] < DAY_MS) {
          continue;
        }
      }
      memory.remove(SUSPECT + network);
      if (isKnown || networks < NETWORKS) {
        networks += isKnown ? 0 : 1;
        memory.put(NETWORK + network, new double[] {start});
      } else {
        // So many networks are a CDN's.
        name[CDN] = 1;
      }
    }
  }
}
