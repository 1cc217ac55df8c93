package dnscribe.stream.enrich;

import com.maxmind.db.InvalidDatabaseException;
import com.maxmind.db.Reader;
import dnscribe.stream.config.Config;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileTime;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Places and networks of addresses, from databases in MaxMind's format. The files are held in
 * memory, and read again when they change. Threads may share it.
 */
final class GeoDatabases {
  private static final Logger LOG = LoggerFactory.getLogger(GeoDatabases.class);

  /** JSON of an address of which nothing is known. */
  static final byte[] UNKNOWN = {'{', '}'};

  private final Database city;
  private final Database asn;
  private final AtomicInteger generation = new AtomicInteger();

  /**
   * Opens the configured files.
   *
   * @throws IOException if one is missing or no database
   */
  GeoDatabases(Config.Geo files) throws IOException {
    city = files.city() == null ? null : new Database(Path.of(files.city()));
    asn = files.asn() == null ? null : new Database(Path.of(files.asn()));
  }

  /** Whether there is no database. */
  boolean isEmpty() {
    return city == null && asn == null;
  }

  /** Number of reloads: what was found out before the last of them may be outdated. */
  int generation() {
    return generation.get();
  }

  /** Reads files that have changed. A file that cannot be read leaves the former data in place. */
  void reloadChanged() {
    boolean changed = city != null && city.reload();
    changed |= asn != null && asn.reload();
    if (changed) {
      generation.incrementAndGet();
    }
  }

  /** Returns the place and network of an address as a JSON object, {@link #UNKNOWN} if unknown. */
  byte[] locate(Address address) throws IOException {
    StringBuilder json = new StringBuilder();
    if (city != null) {
      Map<?, ?> found = city.find(address);
      appendText(json, "country", nested(found, "country").get("iso_code"));
      appendText(json, "city", nested(nested(found, "city"), "names").get("en"));
    }
    if (asn != null) {
      Map<?, ?> found = asn.find(address);
      if (found.get("autonomous_system_number") instanceof Number number) {
        json.append(",\"asn\":").append(number.longValue());
      }
      appendText(json, "as_org", found.get("autonomous_system_organization"));
    }
    if (json.isEmpty()) {
      return UNKNOWN;
    }
    json.setCharAt(0, '{');
    return json.append('}').toString().getBytes(StandardCharsets.UTF_8);
  }

  private static Map<?, ?> nested(Map<?, ?> map, String key) {
    return map.get(key) instanceof Map<?, ?> inner ? inner : Map.of();
  }

  private static void appendText(StringBuilder json, String field, Object value) {
    if (value instanceof String text) {
      json.append(",\"").append(field).append("\":");
      JsonText.appendQuoted(json, text);
    }
  }

  /** One file. */
  private static final class Database {
    private final Path path;
    private volatile Reader reader;
    private FileTime modified;
    private long size;

    Database(Path path) throws IOException {
      this.path = path;
      try {
        open();
      } catch (IOException error) {
        throw new IOException("enrich.geo: cannot read " + path + ": " + describe(error), error);
      }
    }

    Map<?, ?> find(Address address) throws IOException {
      Map<?, ?> found = reader.get(address.toInetAddress(), Map.class);
      return found == null ? Map.of() : found;
    }

    /** Returns whether the file has changed and was read. */
    boolean reload() {
      try {
        BasicFileAttributes now = Files.readAttributes(path, BasicFileAttributes.class);
        if (now.lastModifiedTime().equals(modified) && now.size() == size) {
          return false;
        }
        open();
        LOG.info("geo: read {} again", path);
        return true;
      } catch (IOException error) {
        LOG.warn("geo: cannot read {}, its former data stays in use: {}", path, describe(error));
        return false;
      }
    }

    private void open() throws IOException {
      BasicFileAttributes attributes = Files.readAttributes(path, BasicFileAttributes.class);
      // Also after a failure: another attempt makes sense once the file has changed again.
      modified = attributes.lastModifiedTime();
      size = attributes.size();
      // In memory: another program may write to the file, or replace it.
      reader = new Reader(path.toFile(), Reader.FileMode.MEMORY);
    }

    private static String describe(IOException error) {
      return error instanceof InvalidDatabaseException
          ? "not a MaxMind database: " + error.getMessage()
          : error.toString();
    }
  }
}
