package dnscribe.stream.detect;

import dnscribe.stream.config.RuleSettings;
import java.time.Duration;
import java.util.EnumSet;
import java.util.Locale;
import java.util.Set;

/**
 * Rules of fleet detection. Each has a page {@code docs/runbooks/NAME.md}, with hyphens for
 * underscores.
 */
public enum Rule {
  /** A resolver fails for several nodes. */
  RESOLVER_FAILING(1, 2, settings().warning(0.1).critical(0.5).minQueries(10).minNodes(2)),
  /** A resolver is slow for several nodes. */
  RESOLVER_SLOW(
      2,
      2,
      settings()
          .warning(2)
          .critical(5)
          .zScore(5)
          .minQueries(20)
          .minNodes(2)
          .learning(Duration.ofHours(1))),
  /** A zone fails at all sites that query it, or at many. */
  ZONE_FAILING(1, 2, settings().warning(0.25).critical(0.5).minQueries(10).minNodes(2)),
  /** A zone fails at one site, and works at others. */
  ZONE_FAILING_SITE(1, 2, settings().warning(0.25).critical(0.9).minQueries(10).minNodes(2)),
  /** Far more NXDOMAIN below a zone than usual. */
  ZONE_NXDOMAIN(
      2, 2, settings().warning(0.2).zScore(5).minQueries(100).learning(Duration.ofHours(1))),
  /** Far more or far fewer queries of a zone than usual. */
  ZONE_QUERY_RATE(
      2, 2, settings().warning(3).zScore(6).minQueries(300).learning(Duration.ofDays(1))),
  /** A service fails by a probe's verdict: what clients see of it. */
  SERVICE_IMPACT(1, 1, settings().warning(0.05).critical(0.5).minQueries(10)),
  /** A site gets other answers, or another TTL, than the others. */
  ANSWER_DRIFT(1, 11, settings().minQueries(2).learning(Duration.ofHours(6))),
  /** Clients of one network query far more nodes than usual. */
  CLIENT_FANOUT(1, 11, settings().warning(10).minQueries(1).learning(Duration.ofHours(1))),
  /** Queries of a zone come from countries or networks that it never had. */
  ZONE_NEW_SOURCE(1, 61, settings().warning(0.1).minQueries(20).learning(Duration.ofDays(7))),
  /** A resolver validates otherwise than the others. */
  DNSSEC_DISAGREEMENT(1, 11, settings().warning(3).minQueries(3)),
  /** A name has other addresses and another TTL at once. */
  ZONE_HIJACK(1, 11, settings().minQueries(3).learning(Duration.ofDays(1))),
  /** Probes at several sites see different things of a service. */
  SITE_DISAGREEMENT(2, 11, settings().minQueries(2).learning(Duration.ofHours(6)));

  /** Spans in a row with a finding before the alert fires. */
  final int streak;

  /** A record of immutable values. */
  @SuppressWarnings("ImmutableEnumChecker")
  private final RuleSettings defaults;

  Rule(int streak, int clearMinutes, RuleSettings.Builder settings) {
    this.streak = streak;
    this.defaults = settings.clearFor(Duration.ofMinutes(clearMinutes)).build();
  }

  private static RuleSettings.Builder settings() {
    return new RuleSettings.Builder();
  }

  /** Returns the settings of a rule that is not configured. Settings that it lacks are null. */
  public RuleSettings defaults() {
    return defaults;
  }

  /** Returns its name in records and in the configuration. */
  public String text() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** Returns the rule with this name, or null. */
  public static Rule named(String name) {
    for (Rule rule : values()) {
      if (rule.text().equals(name)) {
        return rule;
      }
    }
    return null;
  }

  /** Returns the rules on enriched records; the others are on windows. */
  public static Set<Rule> onEnriched() {
    return EnumSet.range(ANSWER_DRIFT, ZONE_HIJACK);
  }

  /** Returns the length of the spans that the rule judges, in milliseconds. */
  long spanMillis() {
    return onEnriched().contains(this) || this == SITE_DISAGREEMENT ? 300_000 : 60_000;
  }

  /** Returns whether a change that was announced makes the finding informational. */
  boolean isExplainedByChange() {
    return this == ANSWER_DRIFT || this == ZONE_HIJACK;
  }
}
