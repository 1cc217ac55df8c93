package dnscribe.stream.archive;

import com.github.luben.zstd.Zstd;
import dnscribe.stream.config.ArchiveConfig;
import dnscribe.stream.kafka.OutputRecord;
import java.io.IOException;
import java.util.Map;
import org.apache.flink.api.common.serialization.BulkWriter;
import org.apache.flink.core.fs.FSDataOutputStream;
import org.apache.parquet.bytes.BytesInput;
import org.apache.parquet.column.ColumnWriteStore;
import org.apache.parquet.column.ParquetProperties;
import org.apache.parquet.compression.CompressionCodecFactory.BytesInputCompressor;
import org.apache.parquet.hadoop.ColumnChunkPageWriteStore;
import org.apache.parquet.hadoop.ParquetFileWriter;
import org.apache.parquet.hadoop.metadata.CompressionCodecName;
import org.apache.parquet.io.ColumnIOFactory;
import org.apache.parquet.io.OutputFile;
import org.apache.parquet.io.PositionOutputStream;
import org.apache.parquet.io.api.RecordConsumer;
import org.apache.parquet.schema.MessageType;

/**
 * A Parquet file that is being written, with the parts of parquet-java that need nothing of Hadoop.
 * Its {@code ParquetWriter} needs a Hadoop configuration for options that are not used here.
 */
final class ParquetFile implements BulkWriter<OutputRecord> {
  private static final String SCHEMA = "dns.enriched/1";
  private static final Column COLUMNS = Column.load(SCHEMA);

  /** Records from one look at the size of the row group to the next. */
  private static final int CHECKED_RECORDS = 1_000;

  /** Creates files in streams of Flink. */
  static final class Factory implements BulkWriter.Factory<OutputRecord> {
    private static final long serialVersionUID = 1;
    private final ArchiveConfig settings;

    Factory(ArchiveConfig settings) {
      this.settings = settings;
    }

    @Override
    public BulkWriter<OutputRecord> create(FSDataOutputStream stream) throws IOException {
      return new ParquetFile(settings, stream);
    }
  }

  private final ArchiveConfig settings;
  private final MessageType schema = COLUMNS.message();
  private final ParquetProperties properties =
      // Ids do not repeat.
      ParquetProperties.builder().withDictionaryEncoding("event_id", false).build();
  private final FSDataOutputStream stream;
  private final ParquetFileWriter file;
  private final BytesInputCompressor compressor;
  private ColumnChunkPageWriteStore pages;
  private ColumnWriteStore store;
  private RecordConsumer consumer;
  private RecordColumns writer;
  private long groupRecords;
  private int groups;

  private ParquetFile(ArchiveConfig settings, FSDataOutputStream stream) throws IOException {
    this.settings = settings;
    this.stream = stream;
    this.compressor = new ZstdCompressor(settings.level());
    this.file =
        new ParquetFileWriter(
            new Output(stream),
            schema,
            ParquetFileWriter.Mode.CREATE,
            settings.rowGroupBytes(),
            0,
            properties.getColumnIndexTruncateLength(),
            properties.getStatisticsTruncateLength(),
            properties.getPageWriteChecksumEnabled());
    file.start();
    beginGroup();
  }

  @Override
  public void addElement(OutputRecord record) throws IOException {
    writer.write(record.value());
    groupRecords++;
    if (groupRecords % CHECKED_RECORDS == 0
        && store.getBufferedSize() >= settings.rowGroupBytes()) {
      endGroup();
      beginGroup();
    }
  }

  /** Does nothing: what is in memory gets to the stream with its row group. */
  @Override
  public void flush() {}

  @Override
  public void finish() throws IOException {
    endGroup();
    file.end(Map.of("schema", SCHEMA));
    stream.flush();
  }

  private void beginGroup() {
    pages =
        new ColumnChunkPageWriteStore(
            compressor,
            schema,
            properties.getAllocator(),
            properties.getColumnIndexTruncateLength(),
            properties.getPageWriteChecksumEnabled(),
            null,
            groups);
    store = properties.newColumnWriteStore(schema, pages, pages);
    consumer = new ColumnIOFactory().getColumnIO(schema).getRecordWriter(store);
    writer = new RecordColumns(COLUMNS, consumer);
    groupRecords = 0;
  }

  private void endGroup() throws IOException {
    if (groupRecords > 0) {
      consumer.flush();
      file.startBlock(groupRecords);
      store.flush();
      pages.flushToFileWriter(file);
      file.endBlock();
      groups++;
    }
    store.close();
    pages.close();
  }

  /** Compresses pages with zstd, as Parquet wants them: one frame a page. */
  private static final class ZstdCompressor implements BytesInputCompressor {
    private final int level;

    ZstdCompressor(int level) {
      this.level = level;
    }

    @Override
    public BytesInput compress(BytesInput bytes) throws IOException {
      return BytesInput.from(Zstd.compress(bytes.toInputStream().readAllBytes(), level));
    }

    @Override
    public CompressionCodecName getCodecName() {
      return CompressionCodecName.ZSTD;
    }

    @Override
    public void release() {}
  }

  /** The one stream of a file. */
  private record Output(FSDataOutputStream stream) implements OutputFile {
    @Override
    public PositionOutputStream create(long blockSizeHint) {
      return new Position(stream);
    }

    @Override
    public PositionOutputStream createOrOverwrite(long blockSizeHint) {
      return create(blockSizeHint);
    }

    @Override
    public boolean supportsBlockSize() {
      return false;
    }

    @Override
    public long defaultBlockSize() {
      return 0;
    }
  }

  /** A stream that stays open at the end of its file: Flink closes it. */
  private static final class Position extends PositionOutputStream {
    private final FSDataOutputStream stream;

    Position(FSDataOutputStream stream) {
      this.stream = stream;
    }

    @Override
    public long getPos() throws IOException {
      return stream.getPos();
    }

    @Override
    public void write(int one) throws IOException {
      stream.write(one);
    }

    @Override
    public void write(byte[] bytes, int offset, int length) throws IOException {
      stream.write(bytes, offset, length);
    }

    @Override
    public void flush() throws IOException {
      stream.flush();
    }

    @Override
    public void close() {}
  }
}
