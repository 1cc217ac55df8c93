package dnscribe.stream.detect;

import java.io.Serializable;
import java.util.Map;
import java.util.function.Consumer;

/**
 * Rules on the spans of one kind of entity. A detector has no state and no clock: an entity's
 * memory and the end of the span are arguments, so results do not depend on order or speed.
 */
interface Detector extends Serializable {
  /** Returns the length of a span in milliseconds. */
  long spanMillis();

  /** Returns how many columns of a cell's values are sums; of the others the maximum is kept. */
  default int sums() {
    return 1;
  }

  /** Returns the most entities that a bucket remembers. */
  int maxEntities();

  /** Returns how long an entity without cells is judged and remembered, in milliseconds. */
  long forgetMillis();

  /** Returns whether spans in which nothing came from a known entity are judged, too. */
  default boolean judgesSilence() {
    return false;
  }

  /** Returns whether a cell is worth keeping until the end of its span. */
  default boolean accepts(String cell, boolean isKnown) {
    return true;
  }

  /** Returns whether a cell that comes late is judged with the next span, not dropped. */
  default boolean keepsLate(String cell) {
    return false;
  }

  /** Returns whether an entity is judged even while nothing comes for its whole bucket. */
  default boolean isOpen(Map<String, double[]> memory) {
    return false;
  }

  /**
   * Judges a span of an entity.
   *
   * @param since start of the first span that this entity's bucket ever had
   * @param cells of the span, by name; empty if nothing came
   * @param memory of the entity, which this changes; empty for a new one, and left empty for one
   *     that is not worth remembering
   */
  void judge(
      long start,
      long since,
      String entity,
      Map<String, long[]> cells,
      Map<String, double[]> memory,
      Consumer<Finding> findings);
}
