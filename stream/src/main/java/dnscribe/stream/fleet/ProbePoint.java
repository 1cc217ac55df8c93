package dnscribe.stream.fleet;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.EventIds;
import java.io.IOException;
import java.time.Instant;

/** Makes points of {@code dns.probe/1} for InfluxDB. */
public final class ProbePoint {
  private static final ObjectMapper JSON = new ObjectMapper();

  /** Numbers of the record that become fields. */
  private static final String[] NUMBERS = {
    "duration_ms",
    "latency_ms",
    "connect_ms",
    "handshake_ms",
    "ttfb_ms",
    "rtt_ms",
    "loss_ratio",
    "soa_serial",
    "http_status",
    "min_ttl_seconds",
    "attempt"
  };

  private ProbePoint() {}

  /** Returns the point of a record that has been checked. */
  public static OutputRecord of(OutputRecord record) {
    try {
      JsonNode probe = JSON.readTree(record.value());
      String target = probe.path("target").asText();
      String resolver = probe.path("resolver").asText(null);
      boolean isNamed = resolver != null && !InfluxPoint.isAddress(resolver);
      String nameserver = probe.path("nameserver").asText(null);
      String address = probe.path("address").asText(null);
      InfluxPoint point =
          new InfluxPoint("dns_probe")
              .tag("kind", probe.path("kind").asText())
              .tag("resolver", isNamed ? resolver : null)
              .tag("service", probe.path("service").asText(null))
              .tag("site", probe.path("site").asText(null))
              // Names and addresses are fields; points of one time must not replace each other.
              .tag("target_id", id(target, resolver, nameserver, address, probe))
              .field("ok", probe.path("ok").asBoolean())
              .field("target", target)
              .field("nameserver", nameserver)
              .field("address", address == null && !isNamed ? resolver : address)
              .field("error_stage", probe.path("error").path("stage").asText(null))
              .field("error_reason", probe.path("error").path("reason").asText(null));
      for (String name : NUMBERS) {
        if (probe.path(name).isNumber()) {
          point.field(name, probe.path(name).asDouble());
        }
      }
      if (probe.path("cert").path("expiry_days").isNumber()) {
        point.field("cert_expiry_days", probe.path("cert").path("expiry_days").asDouble());
      }
      long ms = Instant.parse(probe.path("ts").asText()).toEpochMilli();
      return point.at(ms, record.schema(), record.eventId());
    } catch (IOException error) {
      throw new IllegalStateException("a checked record cannot be read", error);
    }
  }

  /** Returns a hash of what was measured: one round asks several resolvers or nameservers. */
  private static String id(
      String target, String resolver, String nameserver, String address, JsonNode probe) {
    // The address that a name of a web site has changes often; that of a nameserver does not.
    String server = nameserver == null ? resolver : nameserver + " " + address;
    String protocol = probe.path("protocol").asText();
    return EventIds.of(target, server == null ? "" : server, protocol).substring(0, 8);
  }
}
