package dnscribe.stream.detect;

import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** Which of two findings causes the other, if the same nodes have both. */
enum Cause {
  /** The resolver fails, and zones with it. */
  RESOLVER,
  /** The zone fails, and the resolvers' shares of failures with it. */
  ZONE,
  /** They are independent. */
  NEITHER;

  /** Share of a finding's nodes, or failures, that must be the other's. */
  private static final double MOST = 0.8;

  /** Share of a resolver's queries up to which a zone with most of its failures is the cause. */
  private static final double MINORITY = 0.5;

  static Cause of(Finding resolver, Finding zone) {
    List<String> zoneNodes = zone.examples(Finding.NODES);
    Set<String> resolverNodes = new HashSet<>(resolver.examples(Finding.NODES));
    if (!zone.entity().get("vantage").equals(resolver.entity().get("vantage"))) {
      return NEITHER;
    }
    long common = zoneNodes.stream().filter(resolverNodes::contains).count();
    if (zoneNodes.isEmpty() || common < MOST * zoneNodes.size()) {
      // A zone fails at more nodes than the resolver: then it is at least not the resolver's fault.
      boolean covers = !resolverNodes.isEmpty() && common >= MOST * resolverNodes.size();
      return covers && isZone(resolver, zone) ? ZONE : NEITHER;
    }
    return isZone(resolver, zone) ? ZONE : RESOLVER;
  }

  private static boolean isZone(Finding resolver, Finding zone) {
    return zone.figure("failed") >= MOST * resolver.figure("failed")
        && zone.figure("queries") <= MINORITY * resolver.figure("queries");
  }
}
