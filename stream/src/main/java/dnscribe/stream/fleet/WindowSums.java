package dnscribe.stream.fleet;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.apache.flink.api.common.typeinfo.TypeInfo;

/**
 * What can be added up of a window: counters, histograms and sketches. Ratios and quantiles are
 * made of them.
 */
@TypeInfo(WindowSumsTypeFactory.class)
public final class WindowSums {
  /** Groupings with the counters of {@link Counter#EXACT}. */
  static final Set<String> EXACT_GROUPINGS = Set.of("node", "all", "region", "resolver");

  /** Mnemonics by extended code. */
  private static final List<String> RCODES =
      List.of(
          "NOERROR",
          "FORMERR",
          "SERVFAIL",
          "NXDOMAIN",
          "NOTIMP",
          "REFUSED",
          "YXDOMAIN",
          "YXRRSET",
          "NXRRSET",
          "NOTAUTH",
          "NOTZONE",
          "DSOTYPENI",
          "RCODE12",
          "RCODE13",
          "RCODE14",
          "RCODE15",
          "BADVERS",
          "BADKEY",
          "BADTIME",
          "BADMODE",
          "BADNAME",
          "BADALG",
          "BADTRUNC",
          "BADCOOKIE");

  /** Codes without a mnemonic. */
  private static final Pattern NUMBERED = Pattern.compile("RCODE\\d{1,5}");

  final long[] counters = new long[Counter.COUNT];
  final Map<String, Long> rcodes = new HashMap<>();
  final Map<String, Long> qtypes = new HashMap<>();

  /** Responses by the four-bit code of the header; of all messages if {@link #hasExact}. */
  final Map<String, Long> exactRcodes = new HashMap<>();

  final Histogram qnameEntropy = new Histogram();
  final Histogram labelLengths = new Histogram();
  final Histogram minTtls = new Histogram();
  final Lazy<LatencySketch> latency = new Lazy<>(Lazy.LATENCY);
  final DistinctCount qnames = new DistinctCount();
  final DistinctCount clients = new DistinctCount();
  final DistinctCount resolvers = new DistinctCount();
  final Lazy<FrequentSketch> topQnames = new Lazy<>(Lazy.FREQUENT);
  final Lazy<FrequentSketch> topZones = new Lazy<>(Lazy.FREQUENT);
  final Lazy<FrequentSketch> topClients = new Lazy<>(Lazy.FREQUENT);
  final Lazy<FrequentSketch> topProcesses = new Lazy<>(Lazy.FREQUENT);
  double latencyMaxMs;

  /** Estimated number of all transactions: equal to those exported unless some were sampled. */
  double estimatedTransactions;

  /** Square of the distance from the estimate to its lower and upper bound. */
  double lowSquared;

  double highSquared;
  boolean isSampled;
  boolean hasExact;
  boolean isPartial;
  boolean isUndercounted;

  /** Returns a counter. */
  public long get(Counter counter) {
    return counters[counter.index()];
  }

  /** Returns the number of responses with this code, by its mnemonic. */
  public long rcode(String mnemonic) {
    return rcodes.getOrDefault(mnemonic, 0L);
  }

  /** Returns the responses, of any status. */
  public long responses() {
    return total(rcodes);
  }

  /** Returns the latency in milliseconds at a rank from 0 to 1; NaN if no query was answered. */
  public double latencyQuantileMs(double rank) {
    return latency.isPresent() ? latency.get().quantile(rank) : Double.NaN;
  }

  /** Returns the estimated number of different clients; NaN if it is unknown. */
  public double uniqueClients() {
    return clients.estimate();
  }

  void set(Counter counter, long value) {
    counters[counter.index()] = value;
  }

  /** Adds the sums of another window of the same grouping and span. */
  public void add(WindowSums other) {
    for (int i = 0; i < counters.length; i++) {
      counters[i] += other.counters[i];
    }
    other.rcodes.forEach((name, count) -> rcodes.merge(name, count, Long::sum));
    other.qtypes.forEach((name, count) -> qtypes.merge(name, count, Long::sum));
    other.exactRcodes.forEach((name, count) -> exactRcodes.merge(name, count, Long::sum));
    qnameEntropy.merge(other.qnameEntropy);
    labelLengths.merge(other.labelLengths);
    minTtls.merge(other.minTtls);
    latency.merge(other.latency);
    qnames.merge(other.qnames);
    clients.merge(other.clients);
    resolvers.merge(other.resolvers);
    topQnames.merge(other.topQnames);
    topZones.merge(other.topZones);
    topClients.merge(other.topClients);
    topProcesses.merge(other.topProcesses);
    latencyMaxMs = Math.max(latencyMaxMs, other.latencyMaxMs);
    estimatedTransactions += other.estimatedTransactions;
    lowSquared += other.lowSquared;
    highSquared += other.highSquared;
    isSampled |= other.isSampled;
    hasExact |= other.hasExact;
    isPartial |= other.isPartial;
    isUndercounted |= other.isUndercounted;
  }

  /** Returns all sketches, in the order of the state. */
  List<Lazy<?>> sketches() {
    return List.of(
        latency,
        qnames.sketch,
        clients.sketch,
        resolvers.sketch,
        topQnames,
        topZones,
        topClients,
        topProcesses);
  }

  /** Returns the sketches of most frequent values. */
  List<Lazy<FrequentSketch>> tops() {
    return List.of(topQnames, topZones, topClients, topProcesses);
  }

  /** Returns the numbers of different values, in the order of the state. */
  List<DistinctCount> distinctCounts() {
    return List.of(qnames, clients, resolvers);
  }

  /** Sets the exact counters of a window all of whose messages were exported. */
  void setExactFromExported() {
    set(Counter.EXACT_QUERIES, get(Counter.QUERIES) + get(Counter.RETRIES));
    set(Counter.EXACT_RESPONSES, responses());
    set(Counter.EXACT_TRUNCATED, get(Counter.TRUNCATED));
    rcodes.forEach((name, count) -> exactRcodes.merge(headerRcode(name), count, Long::sum));
  }

  /** Returns the code with the lower four bits of an extended one (RFC 6891, 6.1.3). */
  private static String headerRcode(String mnemonic) {
    int code = RCODES.indexOf(mnemonic);
    if (code < 0 && NUMBERED.matcher(mnemonic).matches()) {
      code = Integer.parseInt(mnemonic.substring("RCODE".length()));
    }
    return code < 0 ? mnemonic : RCODES.get(code & 15);
  }

  private static long total(Map<String, Long> counts) {
    return counts.values().stream().mapToLong(Long::longValue).sum();
  }
}
