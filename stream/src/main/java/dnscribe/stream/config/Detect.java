package dnscribe.stream.config;

import dnscribe.stream.detect.Rule;
import java.io.Serializable;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;

/**
 * Fleet detection.
 *
 * @param enabled whether it runs
 * @param closeAfter how long a span stays open for late nodes after the watermark has passed its
 *     end
 * @param repeat how often an alert that goes on is written again
 * @param runbookUrl base URL of the runbooks
 * @param privateClients whether {@code client_fanout} counts private addresses, too
 * @param rules settings by the name of the rule
 */
public record Detect(
    Boolean enabled,
    Duration closeAfter,
    Duration repeat,
    String runbookUrl,
    Boolean privateClients,
    Map<String, RuleSettings> rules)
    implements Serializable {
  private static final String RUNBOOKS =
      "https://github.com/dnscribe/dnscribe/blob/main/docs/runbooks";
  static final Detect DEFAULT = new Detect(null, null, null, null, null, null);

  /** Fills in defaults and refuses rules that do not exist. */
  public Detect {
    enabled = enabled == null || enabled;
    closeAfter = closeAfter == null ? Duration.ofSeconds(30) : closeAfter;
    repeat = repeat == null ? Duration.ofMinutes(5) : repeat;
    runbookUrl = runbookUrl == null ? RUNBOOKS : runbookUrl;
    privateClients = privateClients != null && privateClients;
    Map<String, RuleSettings> given = rules == null ? Map.of() : rules;
    for (String name : given.keySet()) {
      if (Rule.named(name) == null) {
        throw new ConfigException("detect.rules: no rule " + name);
      }
    }
    Map<String, RuleSettings> all = new HashMap<>();
    for (Rule rule : Rule.values()) {
      RuleSettings own = given.get(rule.text());
      all.put(rule.text(), own == null ? rule.defaults() : own.or(rule.text(), rule.defaults()));
    }
    rules = Map.copyOf(all);
  }

  /** Returns whether a rule needs the topic of enriched records. */
  public boolean readsEnriched() {
    return Rule.onEnriched().stream().anyMatch(rule -> rule(rule).enabled());
  }

  /** Returns the settings of a rule. */
  public RuleSettings rule(Rule rule) {
    return rules.get(rule.text());
  }
}
