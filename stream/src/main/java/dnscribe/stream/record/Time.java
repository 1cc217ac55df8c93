package dnscribe.stream.record;

import java.time.Duration;
import java.time.LocalDate;
import java.time.YearMonth;
import java.util.OptionalLong;

/**
 * Times as the agent writes them: RFC 3339 in UTC, from 1900 on, with up to nine digits after the
 * second, and without leap seconds, which Unix time does not have.
 */
public final class Time {
  /** How far a record's time may be after the present. State for those beyond would never end. */
  public static final long MAX_AHEAD_MS = Duration.ofDays(1).toMillis();

  private static final String FORM = "dddd-dd-ddTdd:dd:dd";

  private Time() {}

  static boolean isRfc3339(char[] text, int offset, int length) {
    int end = offset + length;
    if (length <= FORM.length() || text[end - 1] != 'Z') {
      return false;
    }
    for (int i = 0; i < FORM.length(); i++) {
      char c = text[offset + i];
      if (FORM.charAt(i) == 'd' ? !isDigit(c) : c != FORM.charAt(i)) {
        return false;
      }
    }
    int fraction = offset + FORM.length();
    if (fraction == end - 1) {
      return inRange(text, offset);
    }
    if (text[fraction] != '.' || end - 1 - fraction < 2 || end - 1 - fraction > 10) {
      return false;
    }
    for (int i = fraction + 1; i < end - 1; i++) {
      if (!isDigit(text[i])) {
        return false;
      }
    }
    return inRange(text, offset);
  }

  /** Returns the seconds since the epoch of a time in this form. */
  public static long epochSeconds(String time) {
    LocalDate day =
        LocalDate.of(
            Integer.parseInt(time, 0, 4, 10),
            Integer.parseInt(time, 5, 7, 10),
            Integer.parseInt(time, 8, 10, 10));
    return day.toEpochDay() * 86_400
        + Integer.parseInt(time, 11, 13, 10) * 3600L
        + Integer.parseInt(time, 14, 16, 10) * 60L
        + Integer.parseInt(time, 17, 19, 10);
  }

  /**
   * Returns the nanoseconds since the epoch of a time in this form; empty after the year 2262, up
   * to which 64 bits can hold them, and for text in another form.
   */
  public static OptionalLong epochNanos(String time) {
    char[] text = time.toCharArray();
    if (!isRfc3339(text, 0, text.length)) {
      return OptionalLong.empty();
    }
    long nanos = 0;
    for (int i = FORM.length() + 1, digit = 100_000_000; i < text.length - 1; i++, digit /= 10) {
      nanos += (long) (text[i] - '0') * digit;
    }
    try {
      long seconds = Math.multiplyExact(epochSeconds(time), 1_000_000_000L);
      return OptionalLong.of(Math.addExact(seconds, nanos));
    } catch (ArithmeticException error) {
      return OptionalLong.empty();
    }
  }

  /**
   * Refuses a time that is further after that of the record in Kafka than any clock is wrong.
   *
   * @throws MalformedException if it is
   */
  public static void checkAhead(String time, long writtenMs) throws MalformedException {
    // Old formats of records have no time.
    long nowMs = writtenMs > 0 ? writtenMs : System.currentTimeMillis();
    if (epochSeconds(time) * 1000 > nowMs + MAX_AHEAD_MS) {
      throw new MalformedException("field", "more than a day ahead at /ts");
    }
  }

  private static boolean inRange(char[] text, int offset) {
    int month = two(text, offset + 5);
    int day = two(text, offset + 8);
    // Stores begin with 1900, and take earlier times for that year.
    return 100 * two(text, offset) + two(text, offset + 2) >= 1900
        && month >= 1
        && month <= 12
        && day >= 1
        && (day <= 28 || day <= length(100 * two(text, offset) + two(text, offset + 2), month))
        && two(text, offset + 11) < 24
        && two(text, offset + 14) < 60
        && two(text, offset + 17) < 60;
  }

  private static int length(int year, int month) {
    return YearMonth.of(year, month).lengthOfMonth();
  }

  private static int two(char[] text, int offset) {
    return (text[offset] - '0') * 10 + text[offset + 1] - '0';
  }

  private static boolean isDigit(char c) {
    return c >= '0' && c <= '9';
  }
}
