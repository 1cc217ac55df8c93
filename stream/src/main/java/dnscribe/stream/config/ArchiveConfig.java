package dnscribe.stream.config;

import java.io.Serializable;
import java.net.URI;

/**
 * Archive of enriched transactions in Parquet files. There is none without a path.
 *
 * @param path folder as a URL of a file system that Flink knows, such as {@code s3a://bucket/dns}
 *     or {@code file:///var/lib/dnscribe/archive}
 * @param level of zstd, from 1 to 19
 * @param rowGroupBytes bytes of a row group in memory at most, before compression
 */
public record ArchiveConfig(String path, Integer level, Integer rowGroupBytes)
    implements Serializable {
  static final ArchiveConfig DEFAULT = new ArchiveConfig(null, null, null);

  /** Fills in defaults and refuses what cannot work. */
  public ArchiveConfig {
    level = level == null ? 3 : level;
    rowGroupBytes = rowGroupBytes == null ? 64 * 1024 * 1024 : rowGroupBytes;
    if (path != null && !isUrl(path)) {
      throw new ConfigException("archive.path: not a URL such as s3a://bucket/dns or file:///dns");
    }
    if (level < 1 || level > 19) {
      throw new ConfigException("archive.level: from 1 to 19");
    }
    if (rowGroupBytes < 1024 * 1024) {
      throw new ConfigException("archive.row_group_bytes: at least 1048576");
    }
  }

  /** Returns whether there is an archive. */
  public boolean enabled() {
    return path != null;
  }

  private static boolean isUrl(String path) {
    try {
      URI url = URI.create(path);
      return url.getScheme() != null && url.getPath() != null && !url.getPath().isEmpty();
    } catch (IllegalArgumentException error) {
      return false;
    }
  }
}
