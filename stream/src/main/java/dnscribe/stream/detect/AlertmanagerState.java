package dnscribe.stream.detect;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * The newest record of each alert that Alertmanager should know of. Severity is a label there, so
 * an alert that becomes worse ends under its old labels and begins under the new. Time is an
 * argument, in milliseconds since the epoch. Public fields, because it is written as JSON into the
 * job's state.
 */
final class AlertmanagerState {
  /** How often the end of an alert is sent. */
  private static final int END_REPEATS = 4;

  private static final int MAX_ALERTS = 10_000;

  /** An alert. */
  static final class Held {
    public JsonNode record;

    /** End of the alert; null while it fires. */
    public Long ended;

    public long due;
    public int endRepeats;

    /** Records that were not sent yet. */
    public long unsettled;

    /** Records that are being sent; and whether another has come since. */
    long sending;

    boolean hasChanged;
  }

  public Map<String, Held> alerts = new TreeMap<>();

  /** Takes a record; returns false if there are too many alerts. */
  boolean add(JsonNode record, long now) {
    String id = record.path("alert_id").asText() + "/";
    String key = id + record.path("severity").asText();
    Held held = alerts.get(key);
    if (held == null && alerts.size() >= MAX_ALERTS) {
      return false;
    }
    Long ended = null;
    if (record.path("state").asText().equals("resolved")) {
      ended = Instant.parse(record.path("ts").asText()).toEpochMilli();
    }
    for (var other : alerts.entrySet()) {
      boolean isSame = other.getKey().startsWith(id) && !other.getKey().equals(key);
      if (isSame && other.getValue().ended == null) {
        other.getValue().ended = Instant.parse(record.path("ts").asText()).toEpochMilli();
        other.getValue().due = now;
        other.getValue().hasChanged = true;
      }
    }
    if (held == null) {
      held = new Held();
      alerts.put(key, held);
    }
    held.record = record;
    held.ended = ended;
    held.due = now;
    held.endRepeats = 0;
    held.unsettled++;
    held.hasChanged = true;
    return true;
  }

  /** Returns the keys of alerts to send now, at most {@code most}, the longest waiting first. */
  List<String> due(long now, int most) {
    return alerts.entrySet().stream()
        .filter(one -> one.getValue().due <= now)
        .sorted(java.util.Comparator.comparingLong(one -> one.getValue().due))
        .limit(most)
        .map(Map.Entry::getKey)
        .toList();
  }

  /** Returns an alert that is about to be sent. */
  Held send(String key) {
    Held held = alerts.get(key);
    held.sending = held.unsettled;
    held.hasChanged = false;
    return held;
  }

  /** Notes that Alertmanager has accepted these; returns how many records that settles. */
  long markSent(List<String> keys, long now, Duration resend) {
    long settled = 0;
    for (String key : keys) {
      Held held = alerts.get(key);
      settled += held.sending;
      held.unsettled -= held.sending;
      if (held.hasChanged) {
        continue;
      }
      held.due = now + resend.toMillis();
      if (held.ended != null && ++held.endRepeats >= END_REPEATS) {
        alerts.remove(key);
      }
    }
    return settled;
  }

  /** Removes alerts that Alertmanager refuses; returns how many records that loses. */
  long remove(List<String> keys) {
    long lost = 0;
    for (String key : keys) {
      Held held = alerts.get(key);
      lost += held.sending;
      held.unsettled -= held.sending;
      if (!held.hasChanged) {
        alerts.remove(key);
      }
    }
    return lost;
  }

  long waiting() {
    return alerts.values().stream().filter(held -> held.unsettled > 0).count();
  }

  long firing() {
    return alerts.values().stream().filter(held -> held.ended == null).count();
  }
}
