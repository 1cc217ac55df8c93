package dnscribe.stream.fleet;

import java.util.ArrayDeque;
import java.util.Deque;

/** Watermarks of the last minutes by the time at which they came. */
final class WatermarkHistory {
  /** Resolution: watermarks that come sooner replace the one before. */
  private static final long STEP_MS = 1_000;

  private record Passed(long watermark, long atMs) {}

  private final Deque<Passed> history = new ArrayDeque<>();

  /** Watermark before the history begins. */
  private long settled;

  WatermarkHistory(long settled) {
    this.settled = settled;
  }

  void add(long watermark, long nowMs) {
    Passed last = history.peekLast();
    if (last != null && nowMs - last.atMs() < STEP_MS) {
      // As if it had come with the first of this second.
      history.pollLast();
      history.add(new Passed(watermark, last.atMs()));
    } else {
      history.add(new Passed(watermark, nowMs));
    }
  }

  /** Returns the watermark at a time; asked for later and later times, it forgets earlier ones. */
  long before(long timeMs) {
    while (!history.isEmpty() && history.peekFirst().atMs() <= timeMs) {
      settled = Math.max(settled, history.pollFirst().watermark());
    }
    return settled;
  }

  /** Returns when the watermark passed an end; {@code nowMs} if that is not known. */
  long passedMs(long endMs, long nowMs) {
    for (Passed passed : history) {
      if (passed.watermark() >= endMs) {
        return passed.atMs();
      }
    }
    return nowMs;
  }
}
