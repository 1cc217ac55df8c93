package dnscribe.stream.detect;

import dnscribe.stream.record.EventIds;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * Life of one alert, from its first finding to its resolution: it rises at once, and falls once the
 * higher severity was absent for long enough. Public fields, because it is written as JSON into the
 * job's state.
 */
final class Episode {
  public Finding finding;
  public long started;
  public long lastFound;

  /** Severity, once it was found often enough; null before. */
  public Severity level;

  /** Severity and time of the last record; null before the first. */
  public Severity reported;

  public long reportedAt;

  /** By severity: evaluations in a row with at least this one, and the time of the last. */
  public int[] streaks = new int[3];

  public long[] last = {Long.MIN_VALUE, Long.MIN_VALUE, Long.MIN_VALUE};

  /** Time at which another alert last explained this one. */
  public long explainedAt = Long.MIN_VALUE;

  public long suppressed;
  public boolean muted;

  /** Changes that may have to do with it, by their event id. */
  public Map<String, Change> changes = new TreeMap<>();

  /** Ids of nodes' alerts that it explains. */
  public Set<String> inhibited = new TreeSet<>();

  /** Probes' alerts about its zone or resolver, by their id. */
  public Map<String, ProbeAlert> probes = new TreeMap<>();

  Episode() {}

  Episode(Finding finding, long now) {
    this.started = now;
    add(finding, now);
  }

  void add(Finding newest, long now) {
    finding = newest;
    lastFound = now;
    for (int level = 0; level < streaks.length; level++) {
      if (newest.severity().rank() >= level) {
        streaks[level]++;
        last[level] = now;
      } else {
        streaks[level] = 0;
      }
    }
  }

  /** Updates the severity after an evaluation; returns false once the condition is over. */
  boolean update(long now, long clearFor) {
    Severity reached = null;
    for (Severity severity : Severity.values()) {
      int index = severity.rank();
      boolean raised = streaks[index] >= finding.rule().streak;
      boolean held = level != null && level.compareTo(severity) >= 0;
      if ((raised && lastFound == now) || (held && now - last[index] < clearFor)) {
        reached = severity;
      }
    }
    level = reached;
    return reached != null || now - last[0] < clearFor;
  }

  /** Forgets how often it was found in a row: a span was without it. */
  void interrupt() {
    streaks = new int[3];
  }

  String alertId() {
    return EventIds.of("fleet", finding.rule().text(), finding.entityText(), started);
  }
}
