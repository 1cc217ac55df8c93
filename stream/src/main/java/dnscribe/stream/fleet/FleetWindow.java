package dnscribe.stream.fleet;

import dnscribe.stream.record.EventIds;

/**
 * A {@code dns.fleet/1}: the windows of all nodes merged for one group.
 *
 * @param revision 0 when first written, one more each time late windows changed it
 * @param isFinal whether nothing more can come
 * @param nodes that contributed
 */
public record FleetWindow(
    WindowKey key, int revision, boolean isFinal, NodeSet nodes, WindowSums sums) {

  /** Returns the record's id: a function of window, group, revision and finality. */
  public String eventId() {
    return EventIds.of("dns.fleet/1", key.text(), revision, isFinal);
  }
}
