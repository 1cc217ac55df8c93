package dnscribe.stream.enrich;

import com.fasterxml.jackson.databind.JsonNode;
import dnscribe.stream.record.MalformedException;
import dnscribe.stream.record.Time;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Indicators of threats: the newest {@code dns.intel/1} of each. A domain matches itself and all
 * names below it, a prefix the addresses in it.
 */
final class IntelTable implements ReferenceTable {
  private static final Logger LOG = LoggerFactory.getLogger(IntelTable.class);

  private final int limit;
  private final Map<String, Indicator> domains = new ConcurrentHashMap<>();
  private final Map<Address.Prefix, Indicator> prefixes = new ConcurrentHashMap<>();

  /** Prefixes by length. */
  private final AtomicIntegerArray lengths = new AtomicIntegerArray(129);

  /** Details of indicators, one of each kind: lists repeat them. */
  private final Map<String, String> details = new HashMap<>();

  private boolean isFull;

  /** Creates a table of {@code limit} indicators at most. */
  IntelTable(int limit) {
    this.limit = limit;
  }

  /**
   * An indicator.
   *
   * @param text as the operator wrote it
   * @param json the fields after it
   * @param validUntil seconds since the epoch at which it ends
   */
  private record Indicator(String text, String json, long validUntil) {}

  /** Receives what matches. */
  interface Matches {
    /** Takes a match: the indicator's text, and its other fields as JSON. */
    void add(String indicator, String details);
  }

  @Override
  public void put(String key, JsonNode record) throws MalformedException {
    if (!key.equals(record.path("indicator").asText())) {
      throw new MalformedException("field", "indicator: not the record's key");
    }
    Indicator indicator = indicator(key, record);
    Address.Prefix prefix = null;
    if (record.path("kind").asText().equals("prefix")) {
      prefix = Address.Prefix.parse(key);
      if (prefix == null) {
        throw new MalformedException("field", "indicator: not a prefix of addresses");
      }
    }
    boolean isNew = prefix == null ? !domains.containsKey(key) : !prefixes.containsKey(prefix);
    if (isNew && !hasCapacity()) {
      return;
    }
    if (prefix == null) {
      domains.put(key, indicator);
    } else if (prefixes.put(prefix, indicator) == null) {
      lengths.incrementAndGet(prefix.length());
    }
  }

  private Indicator indicator(String text, JsonNode record) {
    StringBuilder json = new StringBuilder();
    for (String field : new String[] {"kind", "category", "source"}) {
      if (record.has(field)) {
        json.append(",\"").append(field).append("\":");
        JsonText.appendQuoted(json, record.get(field).asText());
      }
    }
    if (record.has("confidence")) {
      json.append(",\"confidence\":").append(record.get("confidence").asInt());
    }
    JsonNode end = record.get("valid_until");
    return new Indicator(
        text,
        details.computeIfAbsent(json.toString(), same -> same),
        end == null ? Long.MAX_VALUE : Time.epochSeconds(end.asText()));
  }

  /** Returns whether one more fits, after leaving out what has expired. */
  private boolean hasCapacity() {
    if (size() < limit) {
      return true;
    }
    long now = System.currentTimeMillis() / 1000;
    domains.values().removeIf(indicator -> indicator.validUntil <= now);
    for (var prefix : prefixes.entrySet()) {
      if (prefix.getValue().validUntil <= now) {
        remove(prefix.getKey());
      }
    }
    boolean fits = size() < limit;
    if (!fits && !isFull) {
      LOG.warn(
          "intel: {} indicators, further ones are ignored; raise enrich.max_indicators", limit);
    }
    isFull = !fits;
    return fits;
  }

  @Override
  public void remove(String key) {
    Address.Prefix prefix = Address.Prefix.parse(key);
    if (prefix == null) {
      domains.remove(key);
    } else {
      remove(prefix);
    }
  }

  private void remove(Address.Prefix prefix) {
    if (prefixes.remove(prefix) != null) {
      lengths.decrementAndGet(prefix.length());
    }
  }

  @Override
  public int size() {
    return domains.size() + prefixes.size();
  }

  /** Finds the indicators of a name and its parents that are valid at {@code ts}. */
  void findName(String name, String ts, Matches matches) {
    if (domains.isEmpty()) {
      return;
    }
    for (int start = 0; start >= 0; start = Names.parent(name, start)) {
      String suffix = name.substring(start);
      Indicator found = domains.get(suffix);
      if (found != null && isValid(found, ts)) {
        matches.add(found.text, found.json);
      }
    }
  }

  /**
   * Finds the longest prefix of an address, up to {@code bits} of 128, that is valid at {@code ts}.
   */
  void findAddress(Address address, int bits, String ts, Matches matches) {
    if (prefixes.isEmpty()) {
      return;
    }
    int shortest = address.isIpv4() ? Address.IPV4_OFFSET : 0;
    for (int length = bits; length >= shortest; length--) {
      if (lengths.get(length) > 0) {
        Indicator found = prefixes.get(new Address.Prefix(address.masked(length), length));
        if (found != null && isValid(found, ts)) {
          matches.add(found.text, found.json);
          return;
        }
      }
    }
  }

  /** A backfill of a past day finds what was valid on that day. */
  private static boolean isValid(Indicator indicator, String ts) {
    return indicator.validUntil == Long.MAX_VALUE || Time.epochSeconds(ts) < indicator.validUntil;
  }
}
