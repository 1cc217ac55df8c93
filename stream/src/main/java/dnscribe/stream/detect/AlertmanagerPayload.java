package dnscribe.stream.detect;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.config.Alertmanager;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;

/** A {@code dns.alert/1} as Alertmanager's API v2 takes it, with the agent's labels. */
final class AlertmanagerPayload {
  private static final ObjectMapper JSON = new ObjectMapper();

  /** Most examples of a kind in a description. */
  private static final int EXAMPLES = 5;

  private static final List<String> LABELS =
      List.of(
          "rule",
          "severity",
          "node",
          "scope",
          "resolver",
          "zone",
          "service",
          "qname",
          "client_ip",
          "vantage",
          "site");
  private static final List<String> LISTS =
      List.of("nodes", "sites", "zones", "qnames", "resolvers", "sources", "answers");

  private AlertmanagerPayload() {}

  /** Returns the alert; Alertmanager considers it over at {@code until}. */
  static ObjectNode of(JsonNode record, Instant until, Alertmanager settings) {
    ObjectNode alert = JSON.createObjectNode();
    ObjectNode labels = alert.putObject("labels");
    settings.labels().forEach(labels::put);
    for (String name : LABELS) {
      if (record.hasNonNull(name)) {
        labels.put(name, record.get(name).asText());
      }
    }
    labels.put("alertname", name(record.path("rule").asText()));
    ObjectNode annotations = alert.putObject("annotations");
    annotations.put("summary", record.path("summary").asText());
    annotations.put("description", description(record));
    annotations.put("alert_id", record.path("alert_id").asText());
    annotations.put("runbook_url", record.path("runbook").asText());
    Instant started = Instant.parse(record.path("started").asText());
    alert.put("startsAt", started.toString());
    // The end must not be before the start, even after a change of the clock.
    alert.put("endsAt", (until.isBefore(started) ? started : until).toString());
    return alert;
  }

  private static String description(JsonNode record) {
    List<String> lines = new ArrayList<>();
    for (JsonNode figure : record.path("figures")) {
      lines.add(figure(figure));
    }
    for (String kind : LISTS) {
      JsonNode list = record.path(kind);
      if (!list.isEmpty()) {
        List<String> some = new ArrayList<>();
        list.forEach(one -> some.add(one.asText()));
        int more = some.size() - EXAMPLES;
        String text = String.join(", ", some.subList(0, Math.min(EXAMPLES, some.size())));
        lines.add(kind + ": " + text + (more > 0 ? ", and " + more + " more" : ""));
      }
    }
    for (JsonNode change : record.path("changes")) {
      lines.add(
          "change: "
              + change.path("ts").asText()
              + " "
              + change.path("kind").asText()
              + " "
              + change.path("summary").asText());
    }
    for (JsonNode probe : record.path("probes")) {
      lines.add(
          "probe: "
              + probe.path("started").asText()
              + " "
              + probe.path("rule").asText()
              + " "
              + probe.path("summary").asText());
    }
    long suppressed = record.path("suppressed").asLong();
    if (suppressed > 0) {
      lines.add("other alerts that this explains: " + suppressed);
    }
    return String.join("\n", lines);
  }

  private static String figure(JsonNode figure) {
    List<String> compared = new ArrayList<>();
    if (figure.has("threshold")) {
      compared.add("threshold " + rounded(figure, "threshold"));
    }
    if (figure.has("baseline_mean")) {
      compared.add(
          "usually "
              + rounded(figure, "baseline_mean")
              + " ± "
              + rounded(figure, "baseline_deviation"));
      compared.add("z-score " + rounded(figure, "z_score"));
    }
    String text = figure.path("name").asText() + " " + rounded(figure, "value");
    return compared.isEmpty() ? text : text + " (" + String.join(", ", compared) + ")";
  }

  private static String rounded(JsonNode figure, String field) {
    double value = Math.round(figure.path(field).asDouble() * 1000) / 1000.0;
    return value == Math.rint(value) ? String.valueOf((long) value) : String.valueOf(value);
  }

  /** Returns the alert name of a rule: {@code DnsResolverFailing} for {@code resolver_failing}. */
  private static String name(String rule) {
    StringBuilder name = new StringBuilder("Dns");
    for (String word : rule.split("_", -1)) {
      name.append(Character.toUpperCase(word.charAt(0))).append(word, 1, word.length());
    }
    return name.toString();
  }
}
