package dnscribe.stream.detect;

import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.util.Collector;

/**
 * Makes cells of probes' verdicts, so that they meet the windows of their zone: one for each
 * vantage, since a verdict has none.
 */
final class ProbeCells implements FlatMapFunction<Signal, Cell> {
  private static final long MINUTE_MS = 60_000;
  private static final List<String> VANTAGES = List.of("client", "server", "passive");

  /** First part of the names of these cells; a site is never called so. */
  private static final String PROBE = "~probe";

  /** Columns, behind those that are sums: the negative time of the first record of a firing one. */
  private static final int FIRED = NodeStats.SUMS;

  /** Time of the last record of a firing alert, and of a resolved one. */
  private static final int LAST = FIRED + 1;

  private static final int RESOLVED = LAST + 1;

  /**
   * A probe's alert that fires.
   *
   * @param fired time of its first record, in milliseconds since the epoch
   * @param last time of its last record
   */
  record OpenAlert(String service, String rule, long fired, long last) {}

  @Override
  public void flatMap(Signal signal, Collector<Cell> cells) {
    ProbeAlert alert = signal.probeAlert();
    if (alert == null || !alert.isVerdict()) {
      return;
    }
    long start = Math.floorDiv(alert.time(), MINUTE_MS) * MINUTE_MS;
    String name = Cell.join(PROBE, alert.alertId(), alert.service(), alert.rule());
    for (String vantage : VANTAGES) {
      long[] values = new long[RESOLVED + 1];
      values[FIRED] = alert.isFiring() ? -alert.time() : Long.MIN_VALUE;
      values[LAST] = alert.isFiring() ? alert.time() : Long.MIN_VALUE;
      values[RESOLVED] = alert.isFiring() ? Long.MIN_VALUE : alert.time();
      String entity = ZoneDetector.entity(alert.zone(), vantage);
      cells.collect(new Cell(Detectors.ZONE, start, entity, name, values));
    }
  }

  /** Returns whether a cell, or a value of an entity's memory, is a probe's alert. */
  static boolean isProbe(String name) {
    return name.startsWith(PROBE + Cell.SEPARATOR);
  }

  /** Remembers, under the cell's name, an alert that fires; forgets one that is resolved. */
  static void remember(String name, long[] values, Map<String, double[]> memory) {
    if (values[RESOLVED] > values[LAST]) {
      memory.remove(name);
      return;
    }
    double[] known = memory.get(name);
    long fired = known == null ? -values[FIRED] : Math.min((long) known[0], -values[FIRED]);
    memory.put(name, new double[] {fired, values[LAST]});
  }

  /** Returns an alert as it is remembered. */
  static OpenAlert open(String name, double[] remembered) {
    String[] parts = Cell.split(name);
    return new OpenAlert(parts[2], parts[3], (long) remembered[0], (long) remembered[1]);
  }
}
