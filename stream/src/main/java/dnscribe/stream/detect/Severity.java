package dnscribe.stream.detect;

import java.util.Locale;

/** Severity of a finding, as in {@code dns.alert/1}. */
public enum Severity {
  /** Informational. */
  INFO,
  /** Needs attention. */
  WARNING,
  /** Needs attention now. */
  CRITICAL;

  /** Returns its index, from the least severe. */
  @SuppressWarnings("EnumOrdinal") // Severities have a meaningful order.
  int rank() {
    return ordinal();
  }

  /** Returns its name in records. */
  public String text() {
    return name().toLowerCase(Locale.ROOT);
  }

  static Severity atLeastWarning(boolean isCritical) {
    return isCritical ? CRITICAL : WARNING;
  }
}
