package dnscribe.stream.config;

/**
 * An argument, configuration file or environment variable that is refused; the message names it.
 */
public final class ConfigException extends RuntimeException {
  private static final long serialVersionUID = 1;

  /** Creates an exception with this message. */
  public ConfigException(String message) {
    super(message);
  }
}
