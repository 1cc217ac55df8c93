package dnscribe.stream.archive;

import static org.assertj.core.api.Assertions.assertThat;

import dnscribe.stream.config.ArchiveConfig;
import dnscribe.stream.kafka.OutputRecord;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.apache.flink.core.fs.FileSystem.WriteMode;
import org.apache.flink.core.fs.local.LocalFileSystem;
import org.apache.parquet.format.CompressionCodec;
import org.apache.parquet.format.FileMetaData;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ParquetFileTest {
  private static final int RECORDS = 60_000;
  private static final int ROW_GROUP_BYTES = 1024 * 1024;

  @TempDir Path folder;

  @Test
  void rowGroupsAreOfLimitedSize() throws IOException {
    Path path = folder.resolve("part.parquet");
    ArchiveConfig settings = new ArchiveConfig("file:///archive", null, ROW_GROUP_BYTES);
    var target = new org.apache.flink.core.fs.Path(path.toUri());
    try (var stream = new LocalFileSystem().create(target, WriteMode.NO_OVERWRITE)) {
      var file = new ParquetFile.Factory(settings).create(stream);
      for (int i = 0; i < RECORDS; i++) {
        file.addElement(record(i));
      }
      file.finish();
    }

    FileMetaData footer = Footers.read(path);
    assertThat(footer.getNum_rows()).isEqualTo(RECORDS);
    assertThat(footer.getRow_groups()).hasSizeGreaterThan(1);
    for (var group : footer.getRow_groups()) {
      assertThat(group.getTotal_byte_size()).isLessThan(2L * ROW_GROUP_BYTES);
      for (var column : group.getColumns()) {
        assertThat(column.getMeta_data().getCodec()).isEqualTo(CompressionCodec.ZSTD);
      }
    }
  }

  static OutputRecord record(long index) {
    String id = String.format("%016x%016x", index * 0x9e37_79b9_7f4a_7c15L, index);
    String time = String.format("2026-01-31T%02d:00:00.%09dZ", index % 2, index);
    String json = "{\"event_id\":\"" + id + "\",\"ts\":\"" + time + "\",\"flags\":[\"rd\"]}";
    return new OutputRecord(
        "dns.enriched/1", "n1", id, null, json.getBytes(StandardCharsets.UTF_8));
  }
}
