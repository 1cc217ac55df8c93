package dnscribe.stream.fleet;

import java.nio.charset.StandardCharsets;

/**
 * A set of node names by 64-bit hashes, 16 bytes a node at most. The fields are public for Flink's
 * serializer.
 */
public final class NodeSet {
  private static final int FIRST_SLOTS = 4;

  /** Hashes by open addressing; 0 is a free slot. */
  public long[] slots = new long[FIRST_SLOTS];

  /** Number of nodes. */
  public int size;

  /** Returns the set of so many nodes whose names are not known. */
  static NodeSet ofSize(int size) {
    NodeSet nodes = new NodeSet();
    nodes.size = size;
    return nodes;
  }

  /** Adds a node if it is missing. */
  public void add(String node) {
    add(hash(node));
  }

  /** Adds the nodes of another set; of nodes without names the larger number counts. */
  public void addAll(NodeSet other) {
    for (long hash : other.slots) {
      if (hash != 0) {
        add(hash);
      }
    }
    size = Math.max(size, other.size);
  }

  private void add(long hash) {
    int slot = find(slots, hash);
    if (slots[slot] == hash) {
      return;
    }
    slots[slot] = hash;
    size++;
    if (size * 4 > slots.length * 3) {
      long[] larger = new long[slots.length * 2];
      for (long one : slots) {
        if (one != 0) {
          larger[find(larger, one)] = one;
        }
      }
      slots = larger;
    }
  }

  private static int find(long[] slots, long hash) {
    int slot = (int) hash & (slots.length - 1);
    while (slots[slot] != 0 && slots[slot] != hash) {
      slot = (slot + 1) & (slots.length - 1);
    }
    return slot;
  }

  private static long hash(String node) {
    long hash = 0xcbf29ce484222325L;
    for (byte one : node.getBytes(StandardCharsets.UTF_8)) {
      hash = (hash ^ (one & 0xFF)) * 0x100000001b3L;
    }
    // FNV-1a alone distributes its low bits badly.
    long mixed = (hash ^ (hash >>> 32)) * 0x9E3779B97F4A7C15L;
    mixed ^= mixed >>> 29;
    return mixed == 0 ? 1 : mixed;
  }
}
