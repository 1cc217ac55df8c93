package dnscribe.stream.detect;

import static java.util.Comparator.comparingLong;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.EventIds;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.TreeMap;

/**
 * A change of an alert, or its repetition.
 *
 * @param now time of the decision, in milliseconds since the epoch
 * @param previous severity if it has just changed, or null
 */
record Alert(long now, Episode episode, Severity severity, Severity previous, boolean resolved) {
  static final String SCHEMA = "dns.alert/1";

  /** Node of these records: the job. */
  static final String NODE = "fleet";

  private static final ObjectMapper JSON = new ObjectMapper();

  /** Returns its {@code dns.alert/1}, whose ids are functions of what was found. */
  OutputRecord record(String runbookUrl) {
    Finding finding = episode.finding;
    String alertId = episode.alertId();
    String state = resolved ? "resolved" : "firing";
    String eventId = EventIds.of(alertId, now, state, severity.text());
    ObjectNode alert = JSON.createObjectNode();
    alert.put("schema", SCHEMA);
    alert.put("event_id", eventId);
    alert.put("ts", time(now));
    alert.put("node", NODE);
    alert.put("scope", "fleet");
    alert.put("alert_id", alertId);
    alert.put("rule", finding.rule().text());
    String entity = finding.entityText();
    alert.put("entity", entity);
    new TreeMap<>(finding.entity()).forEach(alert::put);
    alert.put("state", state);
    alert.put("severity", severity.text());
    if (previous != null) {
      alert.put("previous_severity", previous.text());
    }
    alert.put("started", time(episode.started));
    if (resolved) {
      alert.put("ended", time(episode.lastFound));
    }
    long until = resolved ? episode.lastFound : now;
    alert.put("duration_seconds", (until - episode.started) / 1000.0);
    alert.put("summary", finding.summary());
    figures(alert.putArray("figures"), finding.figures());
    for (Finding.Examples examples : finding.evidence()) {
      ArrayNode list = alert.putArray(examples.kind());
      examples.values().stream().limit(Finding.EXAMPLES).forEach(list::add);
    }
    if (!episode.changes.isEmpty()) {
      ArrayNode changes = alert.putArray("changes");
      episode.changes.values().stream()
          .sorted(comparingLong(Change::time).thenComparing(Change::eventId))
          .forEach(change -> change.write(changes.addObject()));
    }
    alert.put("suppressed", episode.suppressed);
    if (!episode.inhibited.isEmpty()) {
      ArrayNode inhibited = alert.putArray("suppressed_alerts");
      episode.inhibited.forEach(inhibited::add);
    }
    if (!episode.probes.isEmpty()) {
      ArrayNode probes = alert.putArray("probes");
      episode.probes.values().stream()
          .sorted(comparingLong(ProbeAlert::started).thenComparing(ProbeAlert::alertId))
          .forEach(probe -> probe.write(probes.addObject()));
    }
    String page = finding.rule().name().toLowerCase(Locale.ROOT).replace('_', '-');
    alert.put("runbook", runbookUrl + "/" + page + ".md");
    try {
      byte[] key = entity.getBytes(StandardCharsets.UTF_8);
      return new OutputRecord(SCHEMA, NODE, eventId, key, JSON.writeValueAsBytes(alert));
    } catch (IOException impossible) {
      throw new UncheckedIOException(impossible);
    }
  }

  private static void figures(ArrayNode list, List<Figure> figures) {
    for (Figure figure : figures) {
      ObjectNode written = list.addObject();
      written.put("name", figure.name());
      written.put("value", figure.value());
      if (figure.threshold() != null) {
        written.put("threshold", figure.threshold());
      }
      if (figure.baseline() != null) {
        written.put("baseline_mean", figure.baseline().mean());
        written.put("baseline_deviation", figure.baseline().deviation());
        written.put("z_score", figure.baseline().z());
        written.put("baseline_samples", figure.baseline().samples());
        written.put("seasonal", figure.baseline().seasonal());
      }
    }
  }

  private static String time(long millis) {
    return Instant.ofEpochMilli(millis).toString();
  }
}
