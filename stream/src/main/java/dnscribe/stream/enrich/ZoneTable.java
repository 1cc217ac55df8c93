package dnscribe.stream.enrich;

import com.fasterxml.jackson.databind.JsonNode;
import dnscribe.stream.record.MalformedException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** What the operator knows about zones: the newest {@code dns.zone/1} of each. */
final class ZoneTable implements ReferenceTable {
  private static final String[] FIELDS = {"owner", "tier", "environment", "unit"};

  /** Values of {@code zone_meta} by zone. */
  private final Map<String, byte[]> zones = new ConcurrentHashMap<>();

  @Override
  public void put(String zone, JsonNode record) throws MalformedException {
    if (!zone.equals(record.path("zone").asText())) {
      throw new MalformedException("field", "zone: not the record's key");
    }
    StringBuilder json = new StringBuilder();
    for (String field : FIELDS) {
      JsonNode value = record.get(field);
      if (value != null && value.isTextual()) {
        json.append(json.isEmpty() ? '{' : ',').append('"').append(field).append("\":");
        JsonText.appendQuoted(json, value.asText());
      }
    }
    if (json.isEmpty()) {
      zones.remove(zone);
    } else {
      zones.put(zone, json.append('}').toString().getBytes(StandardCharsets.UTF_8));
    }
  }

  @Override
  public void remove(String zone) {
    zones.remove(zone);
  }

  @Override
  public int size() {
    return zones.size();
  }

  /** Returns the properties of the closest zone that contains a name, as JSON; null if unknown. */
  byte[] find(String name) {
    if (zones.isEmpty()) {
      return null;
    }
    for (int start = 0; start >= 0; start = Names.parent(name, start)) {
      byte[] found = zones.get(name.substring(start));
      if (found != null) {
        return found;
      }
    }
    return null;
  }
}
