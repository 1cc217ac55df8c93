package dnscribe.stream.detect;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
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
 * @param evidence examples, sorted by their kind
 */
public record Finding(
    long end,
    Rule rule,
    Map<String, String> entity,
    Severity severity,
    String summary,
    List<Figure> figures,
    List<Examples> evidence) {
  static final String NODES = "nodes";
  static final String SITES = "sites";
  static final String QNAMES = "qnames";
  static final String RESOLVERS = "resolvers";
  static final String SOURCES = "sources";
  static final String ZONES = "zones";
  static final String ANSWERS = "answers";

  /** Most examples of a kind in a record. */
  static final int EXAMPLES = 32;

  /**
   * Examples of a kind.
   *
   * @param kind name of their field in {@code dns.alert/1}: {@code nodes}, {@code qnames}…
   */
  public record Examples(String kind, List<String> values) {}

  /** Returns a finding with this evidence in place of that of the same kind. */
  Finding with(String kind, Collection<String> values) {
    List<Examples> more = new ArrayList<>(evidence);
    more.removeIf(examples -> examples.kind.equals(kind));
    more.add(new Examples(kind, first(values)));
    more.sort(Comparator.comparing(Examples::kind));
    return new Finding(end, rule, entity, severity, summary, figures, more);
  }

  /** Returns this finding with the examples of {@code other}, which is of the same entity. */
  Finding merge(Finding other) {
    Finding merged = this;
    for (Examples examples : other.evidence) {
      TreeSet<String> both = new TreeSet<>(examples(examples.kind));
      both.addAll(examples.values);
      merged = merged.with(examples.kind, both);
    }
    return merged;
  }

  /** Returns the examples of a kind. */
  List<String> examples(String kind) {
    for (Examples examples : evidence) {
      if (examples.kind.equals(kind)) {
        return examples.values;
      }
    }
    return List.of();
  }

  /** Returns the value of a figure, or 0. */
  double figure(String name) {
    return figures.stream()
        .filter(figure -> figure.name().equals(name))
        .mapToDouble(Figure::value)
        .findFirst()
        .orElse(0);
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
        end, rule, entity, severity, summary, new ArrayList<>(List.of(figures)), new ArrayList<>());
  }
}
