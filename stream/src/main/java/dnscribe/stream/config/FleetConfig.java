package dnscribe.stream.config;

import java.io.Serializable;
import java.time.Duration;
import java.util.List;

/**
 * Job {@code fleet}.
 *
 * @param group consumer group
 * @param deduplicate how long an {@code event_id} is remembered
 * @param allowedLateness how long after its end a merged window takes windows of late nodes
 * @param nodeLag how far a node may be behind most others and still be waited for
 * @param idleTimeout how long a silent node is taken into account
 * @param rollupWindow length of the windows that roll-ups are made of; agents must write these
 * @param rollupInterval how often roll-ups of the current hour and day are written
 * @param sinks where its records go: {@code fleet} (the topic), {@code rollups} (the topic of hours
 *     and days)
 */
public record FleetConfig(
    String group,
    Duration deduplicate,
    Duration allowedLateness,
    Duration nodeLag,
    Duration idleTimeout,
    Duration rollupWindow,
    Duration rollupInterval,
    List<String> sinks)
    implements Serializable {
  private static final List<String> SINKS = List.of("fleet", "rollups");
  static final FleetConfig DEFAULT =
      new FleetConfig(null, null, null, null, null, null, null, null);

  /** Fills in defaults and refuses unknown sinks. */
  public FleetConfig {
    group = group == null ? "dnscribe-fleet" : group;
    deduplicate = deduplicate == null ? Duration.ofHours(2) : deduplicate;
    allowedLateness = allowedLateness == null ? Duration.ofMinutes(2) : allowedLateness;
    nodeLag = nodeLag == null ? Duration.ofSeconds(15) : nodeLag;
    idleTimeout = idleTimeout == null ? Duration.ofSeconds(30) : idleTimeout;
    rollupWindow = rollupWindow == null ? Duration.ofMinutes(1) : rollupWindow;
    rollupInterval = rollupInterval == null ? Duration.ofMinutes(5) : rollupInterval;
    sinks = sinks == null ? SINKS : List.copyOf(sinks);
    StoreConfig.checkSinks("fleet.sinks", sinks, SINKS);
  }
}
