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

  /** Name of the reason: {@code json}, {@code schema}, {@code missing_field}, {@code field}. */
  public String reason() {
    return reason;
  }

  /** An exception is made for each malformed record, and its stack trace is never read. */
  @Override
  public synchronized Throwable fillInStackTrace() {
    return this;
  }
}
