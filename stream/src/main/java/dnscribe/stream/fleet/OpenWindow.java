package dnscribe.stream.fleet;

/** State of a merged window that can still change. The fields are public for Flink's serializer. */
public final class OpenWindow {
  /** Window and group. */
  public WindowKey key;

  /** Sums over the nodes so far. */
  public WindowSums sums = new WindowSums();

  /** Nodes that contributed. */
  public NodeSet nodes = new NodeSet();

  /** Revision of the newest record; -1 before the first. */
  public int revision = -1;

  /** Whether windows came after the newest record. */
  public boolean hasChanged;

  static OpenWindow of(WindowKey key) {
    OpenWindow open = new OpenWindow();
    open.key = key;
    return open;
  }

  /** Adds another merged window, of the same group. */
  void add(FleetWindow window) {
    sums.add(window.sums());
    nodes.addAll(window.nodes());
    hasChanged = true;
  }

  FleetWindow snapshot(boolean isFinal) {
    return new FleetWindow(key, revision, isFinal, nodes, sums);
  }
}
