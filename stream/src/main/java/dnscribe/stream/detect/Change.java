package dnscribe.stream.detect;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Instant;
import java.util.Map;

/**
 * A {@code dns.change/1}: a deployment, a change of a zone, maintenance…
 *
 * @param time when it happened, in milliseconds since the epoch
 * @param zone that it is about, or null
 * @param service that it is about, or null
 * @param ends end of a maintenance in milliseconds since the epoch, or null
 */
public record Change(
    String eventId,
    long time,
    String kind,
    String zone,
    String service,
    String summary,
    String actor,
    String url,
    Long ends) {

  static Change of(JsonNode record) {
    return new Change(
        text(record, "event_id"),
        Instant.parse(record.path("ts").asText()).toEpochMilli(),
        text(record, "kind"),
        text(record, "zone"),
        text(record, "service"),
        text(record, "summary"),
        text(record, "actor"),
        text(record, "url"),
        record.hasNonNull("ends")
            ? Instant.parse(record.get("ends").asText()).toEpochMilli()
            : null);
  }

  static String text(JsonNode record, String field) {
    return record.hasNonNull(field) ? record.get(field).asText() : null;
  }

  /** Returns whether it may have to do with the alert of an entity. */
  boolean concerns(Map<String, String> entity, Iterable<String> zones) {
    if (zone == null && service == null) {
      return true;
    }
    if (service != null && entity.containsValue(service)) {
      return true;
    }
    for (String other : zones) {
      if (isRelated(zone, other)) {
        return true;
      }
    }
    return isRelated(zone, entity.get("zone"));
  }

  /** Returns whether it is a maintenance of this entity at a time. */
  boolean mutes(Map<String, String> entity, long now) {
    return "maintenance".equals(kind)
        && ends != null
        && time <= now
        && now < ends
        && ((service != null && entity.containsValue(service))
            || isRelated(zone, entity.get("zone")));
  }

  void write(ObjectNode to) {
    to.put("event_id", eventId);
    to.put("ts", Instant.ofEpochMilli(time).toString());
    to.put("kind", kind);
    put(to, "zone", zone);
    put(to, "service", service);
    put(to, "summary", summary);
    put(to, "actor", actor);
    put(to, "url", url);
  }

  static void put(ObjectNode to, String field, String value) {
    if (value != null) {
      to.put(field, value);
    }
  }

  /** Returns whether one name is the other, or below it. */
  static boolean isRelated(String one, String other) {
    return one != null
        && other != null
        && (one.equals(other) || one.endsWith("." + other) || other.endsWith("." + one));
  }
}
