package dnscribe.stream.archive;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.parquet.format.FileMetaData;
import org.apache.parquet.format.Util;

/** Reads the footers of Parquet files. */
final class Footers {
  /** Bytes at the end of a file: the length of the footer before them, and {@code PAR1}. */
  private static final int TRAILER = 8;

  private Footers() {}

  static FileMetaData read(Path path) throws IOException {
    byte[] file = Files.readAllBytes(path);
    int end = file.length - TRAILER;
    int length = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN).getInt(end);
    return Util.readFileMetaData(new ByteArrayInputStream(file, end - length, length));
  }
}
