package dnscribe.stream.config;

import java.io.Serializable;
import java.time.Duration;

/**
 * Settings of one rule of fleet detection; a rule has those that its defaults have.
 *
 * @param enabled whether the rule runs
 * @param clearFor how long the condition must be absent before the alert is resolved
 * @param warning threshold of a warning, in the rule's unit
 * @param critical threshold of a critical finding, in the rule's unit
 * @param zScore least distance from the baseline, in standard deviations
 * @param minQueries least number of queries
 * @param minNodes least number of nodes or sites
 * @param learning how long a zone, name or network must be known before its findings count
 */
public record RuleSettings(
    Boolean enabled,
    Duration clearFor,
    Double warning,
    Double critical,
    Double zScore,
    Long minQueries,
    Integer minNodes,
    Duration learning)
    implements Serializable {

  /** Returns these settings, and {@code defaults} where they say nothing. */
  RuleSettings or(String rule, RuleSettings defaults) {
    refuse(rule, "warning", warning, defaults.warning);
    // A rule may have no critical findings unless a threshold is given.
    refuse(rule, "critical", critical, defaults.warning);
    refuse(rule, "z_score", zScore, defaults.zScore);
    refuse(rule, "min_queries", minQueries, defaults.minQueries);
    refuse(rule, "min_nodes", minNodes, defaults.minNodes);
    refuse(rule, "learning", learning, defaults.learning);
    return new RuleSettings(
        first(enabled, defaults.enabled),
        first(clearFor, defaults.clearFor),
        first(warning, defaults.warning),
        first(critical, defaults.critical),
        first(zScore, defaults.zScore),
        first(minQueries, defaults.minQueries),
        first(minNodes, defaults.minNodes),
        first(learning, defaults.learning));
  }

  /** Returns whether a value reaches the threshold of a critical finding, if there is one. */
  public boolean isCritical(double value) {
    return critical != null && value >= critical;
  }

  private static void refuse(String rule, String key, Object given, Object known) {
    if (given != null && known == null) {
      throw new ConfigException("detect.rules." + rule + ": this rule has no " + key);
    }
    if (given instanceof Number number && !(number.doubleValue() > 0)) {
      throw new ConfigException("detect.rules." + rule + "." + key + ": greater than 0");
    }
  }

  private static <T> T first(T given, T other) {
    return given == null ? other : given;
  }

  /** Collects the defaults of a rule. */
  public static final class Builder {
    private Duration clearFor;
    private Double warning;
    private Double critical;
    private Double zScore;
    private Long minQueries;
    private Integer minNodes;
    private Duration learning;

    /** Sets how long the condition must be absent. */
    public Builder clearFor(Duration value) {
      clearFor = value;
      return this;
    }

    /** Sets the threshold of a warning. */
    public Builder warning(double value) {
      warning = value;
      return this;
    }

    /** Sets the threshold of a critical finding. */
    public Builder critical(double value) {
      critical = value;
      return this;
    }

    /** Sets the least z-score. */
    public Builder zScore(double value) {
      zScore = value;
      return this;
    }

    /** Sets the least number of queries. */
    public Builder minQueries(long value) {
      minQueries = value;
      return this;
    }

    /** Sets the least number of nodes or sites. */
    public Builder minNodes(int value) {
      minNodes = value;
      return this;
    }

    /** Sets the learning period. */
    public Builder learning(Duration value) {
      learning = value;
      return this;
    }

    /** Returns the settings. */
    public RuleSettings build() {
      return new RuleSettings(
          true, clearFor, warning, critical, zScore, minQueries, minNodes, learning);
    }
  }
}
