package dnscribe.stream.fleet;

import dnscribe.stream.kafka.OutputRecord;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.regex.Pattern;

/** Writes points of InfluxDB's line protocol, with milliseconds as the precision of times. */
final class InfluxPoint {
  private static final Pattern ADDRESS = Pattern.compile("[0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*");

  private final StringBuilder line;
  private boolean hasField;

  InfluxPoint(String measurement) {
    line = new StringBuilder(512).append(measurement);
  }

  /** Returns whether the name of a resolver is its address, which is never a tag. */
  static boolean isAddress(String resolver) {
    return ADDRESS.matcher(resolver).matches();
  }

  /**
   * Returns the point of a merged window.
   *
   * @param isLast whether no other point replaces it. Only this one has what may become unknown
   *     with a later window of a node: a point that leaves a field out keeps that of an earlier one
   */
  static OutputRecord of(FleetWindow window, boolean isLast) {
    WindowKey key = window.key();
    WindowSums sums = window.sums();
    InfluxPoint point =
        new InfluxPoint("dns_fleet")
            .tag("grouping", key.grouping())
            .tag("other", key.isOther() ? "true" : null)
            .tag("qtype", key.qtype())
            .tag("region", key.region())
            .tag("resolver", key.resolver())
            .tag("step", key.stepSeconds() + "s")
            .tag("vantage", key.vantage())
            .tag("window", key.lengthSeconds() + "s")
            .tag("zone", key.zone())
            .field("nodes", window.nodes().size)
            .field("revision", window.revision())
            .field("final", window.isFinal())
            .field("transactions", sums.get(Counter.TRANSACTIONS));
    for (Counter counter : Counter.STATUSES) {
      point.field(counter.field(), sums.get(counter));
    }
    for (Counter counter : Counter.PLAIN) {
      point.field(counter.field(), sums.get(counter));
    }
    point.field("responses", sums.responses());
    for (String rcode : new String[] {"NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED"}) {
      point.field(rcode.toLowerCase(java.util.Locale.ROOT), sums.rcode(rcode));
    }
    point.field("query_rate", (double) sums.get(Counter.QUERIES) / key.lengthSeconds());
    for (Map.Entry<String, Double> ratio : Ratios.of(sums).entrySet()) {
      point.field(ratio.getKey(), ratio.getValue());
    }
    if (sums.latency.isPresent()) {
      point
          .field("latency_ms_p50", sums.latencyQuantileMs(0.5))
          .field("latency_ms_p90", sums.latencyQuantileMs(0.9))
          .field("latency_ms_p95", sums.latencyQuantileMs(0.95))
          .field("latency_ms_p99", sums.latencyQuantileMs(0.99))
          .field("latency_ms_max", sums.latencyMaxMs);
    }
    if (isLast) {
      point.field("unique_qnames", sums.qnames.estimate());
      point.field("unique_clients", sums.uniqueClients());
    }
    return point.at(key.startMs(), FleetRecord.SCHEMA, window.eventId());
  }

  /**
   * Adds a tag unless it has no value. Tags come in the order of their names, before the fields.
   */
  InfluxPoint tag(String name, String value) {
    if (value == null || value.isEmpty()) {
      return this;
    }
    line.append(',').append(name).append('=');
    for (int i = 0; i < value.length(); i++) {
      char c = value.charAt(i);
      if (c == ',' || c == '=' || c == ' ') {
        line.append('\\');
      }
      line.append(c < ' ' ? '_' : c);
    }
    if (value.endsWith("\\")) {
      // It would escape what follows.
      line.append('_');
    }
    return this;
  }

  InfluxPoint field(String name, long value) {
    name(name).append(value).append('i');
    return this;
  }

  /** Adds a number unless it is NaN. */
  InfluxPoint field(String name, double value) {
    if (!Double.isNaN(value)) {
      name(name).append(value);
    }
    return this;
  }

  InfluxPoint field(String name, boolean value) {
    name(name).append(value);
    return this;
  }

  /** Adds a text unless it is null. */
  InfluxPoint field(String name, String value) {
    if (value != null) {
      name(name)
          .append('"')
          .append(value.replace("\\", "\\\\").replace("\"", "\\\"").replace('\n', ' '))
          .append('"');
    }
    return this;
  }

  /** Ends the point; {@code schema} and {@code eventId} are those of its record. */
  OutputRecord at(long timeMs, String schema, String eventId) {
    byte[] bytes = line.append(' ').append(timeMs).toString().getBytes(StandardCharsets.UTF_8);
    return new OutputRecord(schema, "fleet", eventId, null, bytes);
  }

  private StringBuilder name(String name) {
    line.append(hasField ? ',' : ' ').append(name).append('=');
    hasField = true;
    return line;
  }
}
