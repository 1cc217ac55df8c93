package dnscribe.stream.detect;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * A condition that a rule has found in a span.
 *
 * @param end of the span, in milliseconds since the epoch
 * @param entity its parts by the names of their fields in {@code dns.alert/1}
 * @param summary one sentence
 * @param evidence lists of examples by the names of their fields: {@code nodes}, {@code qnames}…
 */
public record Finding(
    long end,
    Rule rule,
    Map<String, String> entity,
    Severity severity,
    String summary,
    List<Figure> figures,
    Map<String, List<String>> evidence) {
  static final String NODES = "nodes";
  static final String SITES = "sites";
  static final String QNAMES = "qnames";
  static final String RESOLVERS = "resolvers";
  static final String SOURCES = "sources";
  static final String ZONES = "zones";
  static final String ANSWERS = "answers";

  /** Most examples of a kind in a record. */
  static final int EXAMPLES = 32;

  /** Returns a finding with this evidence added. */
  Finding with(String kind, Collection<String> examples) {
    Map<String, List<String>> more = new TreeMap<>(evidence);
    more.put(kind, first(examples));
    return new Finding(end, rule, entity, severity, summary, figures, more);
  }

  Finding with(Severity other) {
    return new Finding(end, rule, entity, other, summary, figures, evidence);
  }

  /** Returns this finding with the examples of {@code other}, which is of the same entity. */
  Finding merge(Finding other) {
    Map<String, List<String>> all = new TreeMap<>(evidence);
    other.evidence.forEach(
        (kind, examples) -> {
          TreeSet<String> both = new TreeSet<>(all.getOrDefault(kind, List.of()));
          both.addAll(examples);
          all.put(kind, first(both));
        });
    return new Finding(end, rule, entity, severity, summary, figures, all);
  }

  /** Returns the entity as one string: {@code resolver=192.0.2.53,vantage=client}. */
  String entityText() {
    List<String> parts = new ArrayList<>();
    new TreeMap<>(entity).forEach((name, value) -> parts.add(name + "=" + value));
    return String.join(",", parts);
  }

  /** Most examples that are kept for comparing findings; records have fewer. */
  private static final int COMPARED = 1024;

  private static List<String> first(Collection<String> examples) {
    return new ArrayList<>(
        new ArrayList<>(examples).subList(0, Math.min(COMPARED, examples.size())));
  }

  static Finding of(
      long end,
      Rule rule,
      Map<String, String> entity,
      Severity severity,
      String summary,
      Figure... figures) {
    return new Finding(
        end, rule, entity, severity, summary, new ArrayList<>(List.of(figures)), new TreeMap<>());
  }
}
