package dnscribe.stream.detect;

import dnscribe.stream.config.Detect;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/** Adds up equal cells before they are sent to the detectors' subtasks. */
final class CellSums {
  /** Cells that are held at most. */
  private static final int CAPACITY = 50_000;

  private record Key(int detector, long start, String entity, String name) {}

  private final Map<Key, long[]> sums = new HashMap<>();
  private final List<Detector> detectors;
  private final Consumer<Cell> output;

  CellSums(Detect settings, Consumer<Cell> output) {
    this.detectors = Detectors.all(settings);
    this.output = output;
  }

  void add(Cell cell) {
    Key key = new Key(cell.detector(), cell.start(), cell.entity(), cell.name());
    long[] sum = sums.putIfAbsent(key, cell.values());
    if (sum != null) {
      DetectOperator.add(sum, cell.values(), detectors.get(cell.detector()).sums());
    }
    if (sums.size() >= CAPACITY) {
      flush(Long.MAX_VALUE);
    }
  }

  /** Sends the cells of spans that have ended at {@code time}. */
  void flush(long time) {
    sums.entrySet()
        .removeIf(
            sum -> {
              Key key = sum.getKey();
              if (time != Long.MAX_VALUE
                  && key.start + detectors.get(key.detector).spanMillis() > time) {
                return false;
              }
              output.accept(
                  new Cell(key.detector, key.start, key.entity, key.name, sum.getValue()));
              return true;
            });
  }
}
