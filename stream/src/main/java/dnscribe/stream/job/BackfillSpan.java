package dnscribe.stream.job;

import java.io.Serializable;
import java.time.Duration;

/**
 * The span of a backfill ({@code --from}, {@code --to}), by the times at which Kafka received the
 * records, in milliseconds since the epoch.
 *
 * @param fromMs begin
 * @param toMs end, itself not included
 */
public record BackfillSpan(long fromMs, long toMs) implements Serializable {
  /**
   * What is read before and after the span, so that the windows of its records are complete.
   * Windows of a node may come that much later than those of others.
   */
  public static final Duration MARGIN = Duration.ofHours(1);

  /** Time after the end of a longer window in which the last of its parts arrive. */
  private static final long SETTLED_MS = Duration.ofMinutes(10).toMillis();

  /** Returns whether Kafka received a record in the span. */
  public boolean has(long timeMs) {
    return fromMs <= timeMs && timeMs < toMs;
  }

  /** Returns whether all parts of a longer window are in the span. */
  public boolean covers(long startMs, long endMs) {
    return fromMs <= startMs && endMs + SETTLED_MS <= toMs;
  }
}
