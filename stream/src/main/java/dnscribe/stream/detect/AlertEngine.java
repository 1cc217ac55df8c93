package dnscribe.stream.detect;

import dnscribe.stream.config.Detect;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;

/**
 * Turns findings into alerts, as the agent's engine does for one node: hysteresis, one alert for
 * one cause, maintenance, repetition. Time is an argument.
 */
final class AlertEngine {
  /** Most alerts of a rule at a time. */
  static final int MAX_PER_RULE = 64;

  /** Most alerts of nodes, alerts of probes, and changes that are remembered. */
  private static final int MAX_REMEMBERED = 10_000;

  private static final int MAX_LISTED = 32;
  private static final int MAX_INHIBITED = 1000;
  private static final long CHANGES_MS = 3_600_000;

  /** A node repeats its alert every five minutes. */
  private static final long NODE_ALERT_MS = 15 * 60_000;

  /** A probe repeats its alert each hour unless it is told otherwise. */
  private static final long PROBE_ALERT_MS = 3 * 3_600_000;

  private static final long EXPLANATION_MS = 120_000;

  /** What the engine knows; written as JSON into the job's state. */
  static final class State {
    public Map<String, Episode> episodes = new TreeMap<>();
    public Map<String, Change> changes = new TreeMap<>();
    public Map<String, NodeAlert> nodeAlerts = new TreeMap<>();
    public Map<String, ProbeAlert> probeAlerts = new TreeMap<>();
  }

  /** Counters since this engine began. */
  static final class Counters {
    long fired;
    long resolved;
    long muted;
    long suppressed;
    long overflow;
  }

  final State state;
  final Counters counters = new Counters();
  private final Detect settings;

  AlertEngine(Detect settings, State state) {
    this.settings = settings;
    this.state = state;
  }

  void add(Change change) {
    add(state.changes, change.eventId(), change);
  }

  void add(NodeAlert alert) {
    add(state.nodeAlerts, alert.alertId(), alert);
  }

  void add(ProbeAlert alert) {
    if (alert.isFiring()) {
      add(state.probeAlerts, alert.alertId(), alert);
    } else {
      state.probeAlerts.remove(alert.alertId());
    }
  }

  private <T> void add(Map<String, T> remembered, String id, T one) {
    if (remembered.size() < MAX_REMEMBERED || remembered.containsKey(id)) {
      remembered.put(id, one);
    } else {
      counters.overflow++;
    }
  }

  /** Evaluates the findings of the spans that end at {@code now}. */
  void evaluate(long now, List<Finding> found, Consumer<Alert> alerts) {
    forget(now);
    List<Finding> findings = combine(found);
    for (Finding finding : findings) {
      String key = finding.rule().text() + " " + finding.entityText();
      Episode episode = state.episodes.get(key);
      if (episode != null) {
        if (now - episode.lastFound > finding.rule().spanMillis()) {
          episode.interrupt();
        }
        episode.add(finding, now);
      } else if (reserve(finding)) {
        state.episodes.put(key, new Episode(finding, now));
      } else {
        counters.overflow++;
      }
    }
    resolve(now, alerts);
    explain(now, findings);
    report(now, alerts);
  }

  private void forget(long now) {
    state
        .changes
        .values()
        .removeIf(
            change ->
                now - change.time() > CHANGES_MS
                    && (change.ends() == null || change.ends() <= now));
    state.nodeAlerts.values().removeIf(alert -> now - alert.time() > NODE_ALERT_MS);
    state.probeAlerts.values().removeIf(alert -> now - alert.time() > PROBE_ALERT_MS);
  }

  /** Returns one finding for each rule and entity, in an order that does not depend on theirs. */
  private List<Finding> combine(List<Finding> found) {
    List<Finding> sorted = new ArrayList<>(found);
    sorted.removeIf(finding -> !settings.rule(finding.rule()).enabled());
    sorted.sort(
        Comparator.comparing(Finding::rule)
            .thenComparing(Finding::entityText)
            .thenComparing(Finding::severity, Comparator.reverseOrder())
            .thenComparing(finding -> -finding.figure("queries"))
            .thenComparing(Finding::summary));
    List<Finding> combined = new ArrayList<>();
    for (Finding finding : sorted) {
      Finding last = combined.isEmpty() ? null : combined.get(combined.size() - 1);
      if (last != null && last.rule() == finding.rule() && last.entity().equals(finding.entity())) {
        combined.set(combined.size() - 1, last.merge(finding));
      } else {
        combined.add(finding);
      }
    }
    return SiteOutage.combine(combined);
  }

  /** Returns whether a rule may have one more alert; a less severe new one gives way to it. */
  private boolean reserve(Finding finding) {
    List<Map.Entry<String, Episode>> own =
        state.episodes.entrySet().stream()
            .filter(one -> one.getValue().finding.rule() == finding.rule())
            .toList();
    if (own.size() < MAX_PER_RULE) {
      return true;
    }
    for (var one : own) {
      Episode episode = one.getValue();
      boolean isLess = episode.finding.severity().compareTo(finding.severity()) < 0;
      if (episode.reported == null && isLess) {
        state.episodes.remove(one.getKey());
        return true;
      }
    }
    return false;
  }

  private void resolve(long now, Consumer<Alert> alerts) {
    state
        .episodes
        .values()
        .removeIf(
            episode -> {
              long clear = settings.rule(episode.finding.rule()).clearFor().toMillis();
              if (episode.update(now, clear)) {
                return false;
              }
              if (episode.reported != null) {
                counters.resolved++;
                alerts.accept(new Alert(now, episode, episode.reported, null, true));
              }
              return true;
            });
  }

  /**
   * Marks what another finding of now explains: a resolver's failures those of zones, or a zone's.
   */
  private void explain(long now, List<Finding> findings) {
    for (Finding resolver : findings) {
      if (resolver.rule() != Rule.RESOLVER_FAILING) {
        continue;
      }
      for (Finding zone : findings) {
        if (zone.rule() != Rule.ZONE_FAILING && zone.rule() != Rule.ZONE_FAILING_SITE) {
          continue;
        }
        Cause cause = Cause.of(resolver, zone);
        if (cause == Cause.RESOLVER) {
          explain(now, zone, resolver);
        } else if (cause == Cause.ZONE) {
          explain(now, resolver, zone);
        }
      }
    }
  }

  private void explain(long now, Finding effect, Finding cause) {
    Episode explained = state.episodes.get(effect.rule().text() + " " + effect.entityText());
    Episode explains = state.episodes.get(cause.rule().text() + " " + cause.entityText());
    if (explained == null || explains == null) {
      return;
    }
    if (explained.reported == null && explained.explainedAt == Long.MIN_VALUE) {
      counters.suppressed++;
      explains.suppressed++;
    }
    explained.explainedAt = now;
  }

  private void report(long now, Consumer<Alert> alerts) {
    for (Episode episode : state.episodes.values()) {
      if (episode.level == null
          || (episode.reported == null
              && episode.explainedAt != Long.MIN_VALUE
              && now - episode.explainedAt < EXPLANATION_MS)) {
        continue;
      }
      gather(now, episode);
      Map<String, String> entity = episode.finding.entity();
      if (state.changes.values().stream().anyMatch(change -> change.mutes(entity, now))) {
        counters.muted += episode.muted ? 0 : 1;
        episode.muted = true;
        continue;
      }
      Severity severity = announced(episode) ? Severity.INFO : episode.level;
      Severity before = episode.reported;
      if (severity == before && now - episode.reportedAt < settings.repeat().toMillis()) {
        continue;
      }
      episode.reported = severity;
      episode.reportedAt = now;
      counters.fired += before == null ? 1 : 0;
      alerts.accept(new Alert(now, episode, severity, before == severity ? null : before, false));
    }
  }

  /** Returns whether somebody announced what was found: then it is information. */
  private static boolean announced(Episode episode) {
    String zone = episode.finding.entity().get("zone");
    return episode.finding.rule().isExplainedByChange()
        && episode.changes.values().stream()
            .anyMatch(
                change ->
                    change.zone() != null && change.concerns(Map.of("zone", zone), List.of()));
  }

  /**
   * Adds the changes of the last hour before the alert, the nodes' alerts that it explains, and the
   * probes' alerts that are about its zone or resolver.
   */
  private void gather(long now, Episode episode) {
    Map<String, String> entity = episode.finding.entity();
    List<String> zones = episode.finding.examples(Finding.ZONES);
    for (Change change : state.changes.values()) {
      if (episode.changes.size() < MAX_LISTED
          && change.time() <= now
          && change.time() >= episode.started - CHANGES_MS
          && change.concerns(entity, zones)) {
        episode.changes.put(change.eventId(), change);
      }
    }
    for (NodeAlert alert : state.nodeAlerts.values()) {
      if (alert.isExplainedBy(entity)
          && alert.time() <= now
          && episode.inhibited.size() < MAX_INHIBITED
          && episode.inhibited.add(alert.alertId())) {
        episode.suppressed++;
      }
    }
    for (ProbeAlert alert : state.probeAlerts.values()) {
      boolean isListed = episode.probes.containsKey(alert.alertId());
      if ((isListed || episode.probes.size() < MAX_LISTED) && alert.concerns(episode.finding)) {
        episode.probes.put(alert.alertId(), alert);
      }
    }
  }
}
