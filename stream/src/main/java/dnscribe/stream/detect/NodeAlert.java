package dnscribe.stream.detect;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;
import java.util.Map;
import java.util.Set;

/** What the engine needs of a node's {@code dns.alert/1}. */
public record NodeAlert(String alertId, long time, String rule, String resolver, String zone) {
  /** Rules of nodes that a fleet alert about the resolver or zone explains. */
  private static final Set<String> EXPLAINED =
      Set.of(
          "resolver_down", "resolver_flapping", "success_ratio", "timeout", "servfail", "latency");

  static NodeAlert of(JsonNode record) {
    return new NodeAlert(
        Change.text(record, "alert_id"),
        Instant.parse(record.path("ts").asText()).toEpochMilli(),
        Change.text(record, "rule"),
        Change.text(record, "resolver"),
        Change.text(record, "zone"));
  }

  /** Returns whether a fleet alert about this entity explains the node's alert. */
  boolean isExplainedBy(Map<String, String> fleet) {
    if (!EXPLAINED.contains(rule)) {
      return false;
    }
    return resolver != null
        ? resolver.equals(fleet.get("resolver"))
        : zone != null && zone.equals(fleet.get("zone"));
  }
}
