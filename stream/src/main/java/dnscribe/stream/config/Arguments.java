package dnscribe.stream.config;

import java.nio.file.Path;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.List;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;

/**
 * Command line of the jar.
 *
 * @param command what to do
 * @param config the configuration file
 * @param from {@code EARLIEST}, {@code LATEST} or a time; null for where the consumer group stopped
 * @param to end of a backfill; null for a job that does not end
 * @param only the store that the job {@code store} writes; null for other commands
 */
public record Arguments(String command, Path config, String from, Instant to, String only) {
  private static final List<String> COMMANDS =
      List.of("enrich", "fleet", "store", "copy", "migrate", "topics");

  /** Parses the words of a command line; a refusal contains {@code usage}. */
  public static Arguments parse(String[] words, String usage) {
    if (words.length == 0 || !COMMANDS.contains(words[0])) {
      throw new ConfigException(usage);
    }
    Path config = null;
    String from = null;
    Instant to = null;
    String only = null;
    for (int i = 1; i < words.length; i += 2) {
      if (i + 1 == words.length) {
        throw new ConfigException(words[i] + " needs a value\n" + usage);
      }
      String value = words[i + 1];
      switch (words[i]) {
        case "--config" -> config = Path.of(value);
        case "--from" -> from = value;
        case "--to" -> to = time("--to", value);
        case "--only" -> only = value;
        default -> throw new ConfigException("unknown argument " + words[i] + "\n" + usage);
      }
    }
    if (config == null) {
      throw new ConfigException("--config is missing\n" + usage);
    }
    boolean isStore = words[0].equals("store");
    if (isStore != (only != null)) {
      throw new ConfigException("--only STORE is of the job store, which needs it\n" + usage);
    }
    if (to != null && !isStore) {
      throw new ConfigException(
          "--to is of the job store: the topics have what a backfill would write\n" + usage);
    }
    Arguments arguments = new Arguments(words[0], config, from, to, only);
    arguments.start();
    if (to != null && arguments.beginMs() >= to.toEpochMilli()) {
      throw new ConfigException("--to " + to + ": not after --from " + from + "\n" + usage);
    }
    return arguments;
  }

  /** Returns whether the job ends at a given time. */
  public boolean isBounded() {
    return to != null;
  }

  /** Returns the offsets at which the job starts. */
  @SuppressWarnings("deprecation") // The connector's method takes nothing else.
  public OffsetsInitializer start() {
    if (from == null) {
      return OffsetsInitializer.committedOffsets(
          org.apache.kafka.clients.consumer.OffsetResetStrategy.EARLIEST);
    }
    return switch (from) {
      case "EARLIEST" -> OffsetsInitializer.earliest();
      case "LATEST" -> OffsetsInitializer.latest();
      default -> OffsetsInitializer.timestamp(time("--from", from).toEpochMilli());
    };
  }

  /** Returns the time at which the job starts; the smallest if it is not a given one. */
  public long beginMs() {
    if (from == null) {
      return Long.MIN_VALUE;
    }
    return switch (from) {
      case "EARLIEST" -> Long.MIN_VALUE;
      case "LATEST" -> System.currentTimeMillis();
      default -> time("--from", from).toEpochMilli();
    };
  }

  private static Instant time(String name, String value) {
    try {
      return Instant.parse(value);
    } catch (DateTimeParseException error) {
      throw new ConfigException(name + " " + value + ": not a time such as 2026-01-31T10:00:00Z");
    }
  }
}
