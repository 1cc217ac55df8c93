package dnscribe.stream.record;

/** A record that is not what its schema says. */
public final class MalformedException extends Exception {
  private static final long serialVersionUID = 1;
  private final String reason;

  /** Creates an exception with the counter's name of the reason, and what is wrong in detail. */
  public MalformedException(String reason, String detail) {
    super(detail);
    this.reason = reason;
  }

  /** Returns the refusal of a record for which the program was not made. */
  public static MalformedException unreadable(RuntimeException error) {
    return new MalformedException("unreadable", error.toString());
  }

  /**
   * Name of the reason: {@code json}, {@code schema}, {@code missing_field}, {@code field}, {@code
   * avro}, {@code too_large}, {@code unreadable}.
   */
  public String reason() {
    return reason;
  }

  /** An exception is made for each malformed record, and its stack trace is never read. */
  @Override
  public synchronized Throwable fillInStackTrace() {
    return this;
  }
}
