package dnscribe.stream.fleet;

import java.util.LinkedHashMap;
import java.util.Map;

/** Ratios of a window, made of its sums: the formulas of docs/metrics.md. */
final class Ratios {
  private Ratios() {}

  /** Returns the ratios by the names of their fields; those over nothing are left out. */
  static Map<String, Double> of(WindowSums sums) {
    Map<String, Double> ratios = new LinkedHashMap<>();
    long queries = sums.get(Counter.QUERIES);
    long responses = sums.responses();
    long known =
        sums.get(Counter.ANSWERED) + sums.get(Counter.TIMEOUT) + sums.get(Counter.ICMP_ERROR);
    long hits = sums.get(Counter.CACHE_HITS);
    put(ratios, "success_ratio", sums.get(Counter.SUCCESSES), known);
    put(ratios, "nxdomain_ratio", sums.rcode("NXDOMAIN"), responses);
    put(ratios, "servfail_ratio", sums.rcode("SERVFAIL"), responses);
    put(ratios, "timeout_ratio", sums.get(Counter.TIMEOUT), queries);
    put(ratios, "truncation_ratio", sums.get(Counter.TRUNCATED), responses);
    put(ratios, "retry_ratio", sums.get(Counter.RETRIES), queries);
    put(ratios, "tcp_fallback_ratio", sums.get(Counter.TCP_FALLBACKS), queries);
    put(ratios, "cache_hit_ratio", hits, hits + sums.get(Counter.CACHE_MISSES));
    put(ratios, "dnssec_ratio", sums.get(Counter.DNSSEC_QUERIES), queries);
    put(ratios, "ecs_ratio", sums.get(Counter.ECS_QUERIES), queries);
    put(ratios, "amplification", sums.get(Counter.RESPONSE_BYTES), sums.get(Counter.QUERY_BYTES));
    return ratios;
  }

  private static void put(Map<String, Double> ratios, String name, long part, long whole) {
    if (whole > 0) {
      ratios.put(name, (double) part / whole);
    }
  }
}
