package dnscribe.stream.detect;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.time.Instant;
import java.util.Map;
import java.util.stream.Stream;

/**
 * What detection needs of a probe's {@code dns.alert/1}.
 *
 * @param time of the record, in milliseconds since the epoch
 * @param service whose target fails, or null
 * @param zone registrable domain, or null
 * @param qname query name, or null
 * @param resolver that it is about, or null
 * @param started time at which the problem was first found, in milliseconds since the epoch
 * @param isFiring whether the problem lasts
 */
public record ProbeAlert(
    String alertId,
    long time,
    String rule,
    String service,
    String zone,
    String qname,
    String resolver,
    String summary,
    long started,
    boolean isFiring) {

  /** Rules that say that a service fails, and why, begin with this. */
  private static final String VERDICT = "verdict_";

  /**
   * Reads a record.
   *
   * @throws IOException if a name has control characters, which separate names in the job's state
   */
  static ProbeAlert of(JsonNode record) throws IOException {
    ProbeAlert alert =
        new ProbeAlert(
            Change.text(record, "alert_id"),
            Instant.parse(record.path("ts").asText()).toEpochMilli(),
            record.path("rule").asText(),
            Change.text(record, "service"),
            Change.text(record, "zone"),
            Change.text(record, "qname"),
            Change.text(record, "resolver"),
            record.path("summary").asText(),
            Instant.parse(record.path("started").asText()).toEpochMilli(),
            record.path("state").asText().equals("firing"));
    boolean isClean =
        Stream.of(alert.alertId, alert.rule, alert.service, alert.zone)
            .allMatch(name -> name == null || name.chars().noneMatch(Character::isISOControl));
    if (!isClean) {
      throw new IOException("a control character in a name");
    }
    return alert;
  }

  /** Returns whether it says that a service with names in a known zone fails. */
  boolean isVerdict() {
    return service != null && zone != null && rule.startsWith(VERDICT);
  }

  /** Returns whether it is about the resolver, the zone or the service of a finding. */
  boolean concerns(Finding finding) {
    Map<String, String> entity = finding.entity();
    if (finding.rule() == Rule.SITE_DISAGREEMENT) {
      return service != null && service.equals(entity.get("service"));
    }
    if (resolver != null
        && (resolver.equals(entity.get("resolver"))
            || finding.examples(Finding.RESOLVERS).contains(resolver))) {
      return true;
    }
    String name = zone == null ? qname : zone;
    return Change.isRelated(name, entity.get("zone"))
        || finding.examples(Finding.ZONES).stream().anyMatch(one -> Change.isRelated(name, one));
  }

  void write(ObjectNode to) {
    to.put("alert_id", alertId);
    to.put("rule", rule);
    Change.put(to, "service", service);
    to.put("summary", summary);
    to.put("started", Instant.ofEpochMilli(started).toString());
  }
}
