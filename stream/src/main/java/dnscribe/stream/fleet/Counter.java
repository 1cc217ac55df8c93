package dnscribe.stream.fleet;

import java.util.Locale;

/**
 * Counters of a window, each the sum over its nodes. State has them by position: add further ones
 * at the end.
 */
public enum Counter {
  TRANSACTIONS,
  ANSWERED,
  TIMEOUT,
  LATE,
  ICMP_ERROR,
  DUPLICATE,
  ORPHAN,
  EVICTED,
  OPEN,
  QUERIES,
  SUCCESSES,
  TRUNCATED,
  RETRIES,
  TCP_FALLBACKS,
  CACHE_HITS,
  CACHE_MISSES,
  DNSSEC_QUERIES,
  ECS_QUERIES,
  CONFLICTS,
  QUERY_BYTES,
  RESPONSE_BYTES,
  EXACT_QUERIES,
  EXACT_RESPONSES,
  EXACT_TRUNCATED,
  EXACT_NOT_EXPORTED,
  EXACT_LOST,
  EXACT_LOST_SEGMENTS;

  static final int COUNT = values().length;

  /** Counters of transactions by status, in the order of the record. */
  static final Counter[] STATUSES = {
    ANSWERED, TIMEOUT, LATE, ICMP_ERROR, DUPLICATE, ORPHAN, EVICTED, OPEN
  };

  /** Counters on the first level of the record, in its order after the statuses. */
  static final Counter[] PLAIN = {
    QUERIES,
    SUCCESSES,
    TRUNCATED,
    RETRIES,
    TCP_FALLBACKS,
    CACHE_HITS,
    CACHE_MISSES,
    DNSSEC_QUERIES,
    ECS_QUERIES,
    CONFLICTS,
    QUERY_BYTES,
    RESPONSE_BYTES
  };

  /** Counters in {@code exact}: of all messages, exported or not. */
  static final Counter[] EXACT = {
    EXACT_QUERIES,
    EXACT_RESPONSES,
    EXACT_TRUNCATED,
    EXACT_NOT_EXPORTED,
    EXACT_LOST,
    EXACT_LOST_SEGMENTS
  };

  private final String field;

  Counter() {
    String name = name().toLowerCase(Locale.ROOT);
    field = name.startsWith("exact_") ? name.substring("exact_".length()) : name;
  }

  /** Position in arrays of counters. */
  @SuppressWarnings("EnumOrdinal") // An EnumMap would box each of the counters.
  int index() {
    return ordinal();
  }

  /** Name in the records {@code dns.window/1} and {@code dns.fleet/1}. */
  String field() {
    return field;
  }
}
