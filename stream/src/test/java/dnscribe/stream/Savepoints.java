package dnscribe.stream;

import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.util.OperatorSnapshotUtil;

/**
 * States of operators as a former version wrote them. Tests that restore a state restore these,
 * too, so that an upgrade can.
 *
 * <p>{@code mvn … -Ddnscribe.savepoints=write} writes those that are missing: of new operators. One
 * that is there is what users have, and stays until no supported version restores it.
 */
public final class Savepoints {
  private static final Path FOLDER = Path.of("src", "test", "resources", "savepoints", "0.1.0");

  private Savepoints() {}

  /** Returns the lines of a file; of {@code now} if it is written. */
  public static List<String> keptLines(String name, Iterable<String> now) throws Exception {
    Path file = FOLDER.resolve(name);
    if (mayWrite(file)) {
      Files.write(file, now);
    }
    return Files.readAllLines(file);
  }

  private static boolean mayWrite(Path file) throws Exception {
    if (Files.exists(file) || !"write".equals(System.getProperty("dnscribe.savepoints"))) {
      return false;
    }
    Files.createDirectories(FOLDER);
    return true;
  }

  /** Returns a state, and the one that was kept of the same events. */
  public static List<OperatorSubtaskState> withKept(String name, OperatorSubtaskState state)
      throws Exception {
    return List.of(state, kept(name, state));
  }

  /** Returns the state that was kept of the events of {@code state}. */
  public static OperatorSubtaskState kept(String name, OperatorSubtaskState state)
      throws Exception {
    Path file = FOLDER.resolve(name + ".gz");
    Path plain = Files.createTempFile("savepoint", "");
    try {
      if (mayWrite(file)) {
        OperatorSnapshotUtil.writeStateHandle(state, plain.toString());
        try (var packed = new GZIPOutputStream(Files.newOutputStream(file))) {
          Files.copy(plain, packed);
        }
      }
      try (var packed = new GZIPInputStream(Files.newInputStream(file))) {
        Files.copy(packed, plain, StandardCopyOption.REPLACE_EXISTING);
      }
      return OperatorSnapshotUtil.readStateHandle(plain.toString());
    } finally {
      Files.delete(plain);
    }
  }
}
