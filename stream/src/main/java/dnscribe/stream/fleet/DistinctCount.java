package dnscribe.stream.fleet;

/**
 * Number of different values: by a sketch, or without one, the estimate of a window whose node
 * masks its sketches. What several such windows have in common is unknown, and so is their number.
 */
final class DistinctCount {
  final Lazy<DistinctSketch> sketch = new Lazy<>(Lazy.DISTINCT);

  /** Estimate of a masked sketch; NaN if it is unknown. */
  double maskedEstimate = Double.NaN;

  double maskedLower;
  double maskedUpper;

  /** Returns the estimate; NaN if it is unknown. */
  double estimate() {
    if (sketch.isMasked()) {
      return maskedEstimate;
    }
    return sketch.isPresent() ? sketch.get().estimate() : 0;
  }

  double lower() {
    if (sketch.isMasked()) {
      return maskedLower;
    }
    return sketch.isPresent() ? sketch.get().lower() : 0;
  }

  double upper() {
    if (sketch.isMasked()) {
      return maskedUpper;
    }
    return sketch.isPresent() ? sketch.get().upper() : 0;
  }

  /** Returns whether the values of a masked sketch are an estimate, or its absence. */
  boolean isValid() {
    return !sketch.isMasked()
        || Double.isNaN(maskedEstimate)
        || (0 <= maskedLower && maskedLower <= maskedEstimate && maskedEstimate <= maskedUpper);
  }

  /** Records of merged windows leave out what is unknown. */
  void setUnknownIfAbsent() {
    if (sketch.encode() == null) {
      sketch.mask();
    }
  }

  void merge(DistinctCount other) {
    if (other.isEmpty()) {
      return;
    }
    boolean isMasked = sketch.isMasked() || other.sketch.isMasked();
    if (isMasked && isEmpty()) {
      sketch.set(other.sketch.encode());
      maskedEstimate = other.maskedEstimate;
      maskedLower = other.maskedLower;
      maskedUpper = other.maskedUpper;
    } else {
      sketch.merge(other.sketch);
      maskedEstimate = Double.NaN;
    }
  }

  private boolean isEmpty() {
    return sketch.isMasked() ? maskedEstimate == 0 : !sketch.isPresent();
  }
}
