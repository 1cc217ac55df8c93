package dnscribe.stream.detect;

/**
 * What the alert engine reads: one of a finding, a change, or a node's alert; the others are null.
 *
 * @param time in milliseconds since the epoch: the end of the finding's span, or the record's own
 */
public record Signal(long time, Finding finding, Change change, NodeAlert nodeAlert) {
  static Signal of(Finding finding) {
    return new Signal(finding.end(), finding, null, null);
  }
}
