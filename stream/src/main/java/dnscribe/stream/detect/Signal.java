package dnscribe.stream.detect;

/**
 * What the alert engine reads: one of a finding, a change, a node's alert, or a probe's alert; the
 * others are null.
 *
 * @param time in milliseconds since the epoch: the end of the finding's span, or the record's own
 */
public record Signal(
    long time, Finding finding, Change change, NodeAlert nodeAlert, ProbeAlert probeAlert) {
  static Signal of(Finding finding) {
    return new Signal(finding.end(), finding, null, null, null);
  }

  static Signal of(Change change) {
    return new Signal(change.time(), null, change, null, null);
  }

  static Signal of(NodeAlert alert) {
    return new Signal(alert.time(), null, null, alert, null);
  }

  static Signal of(ProbeAlert alert) {
    return new Signal(alert.time(), null, null, null, alert);
  }
}
