package dnscribe.stream.archive;

import dnscribe.stream.config.ArchiveConfig;
import dnscribe.stream.job.JobBuilder;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.record.JsonFields;
import org.apache.flink.connector.file.sink.FileSink;
import org.apache.flink.core.fs.Path;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.functions.sink.filesystem.BucketAssigner;
import org.apache.flink.streaming.api.functions.sink.filesystem.OutputFileConfig;
import org.apache.flink.streaming.api.functions.sink.filesystem.bucketassigners.SimpleVersionedStringSerializer;
import org.apache.flink.streaming.api.functions.sink.filesystem.rollingpolicies.OnCheckpointRollingPolicy;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * The archive: enriched transactions in Parquet files, in a folder for each hour of their times. A
 * file gets its name when the checkpoint that contains its records completes, so each record is in
 * one file.
 */
public final class Archive {
  private Archive() {}

  /** Adds the archive to a job. */
  public static void add(JobBuilder job, DataStream<OutputRecord> records, ArchiveConfig settings) {
    FileSink<OutputRecord> files =
        FileSink.forBulkFormat(new Path(settings.path()), new ParquetFile.Factory(settings))
            .withBucketAssigner(new HourAssigner())
            .withRollingPolicy(OnCheckpointRollingPolicy.build())
            .withOutputFileConfig(new OutputFileConfig("part", ".parquet"))
            .build();
    job.transform(records, "count-archive", JobBuilder.OUTPUT, new Counter())
        .sinkTo(files)
        .name("archive")
        .uid("archive");
  }

  /** Counts the records for the ledger. The files with them are committed with its checkpoint. */
  private static final class Counter extends CountingOperator<OutputRecord, OutputRecord> {
    private static final int RECORDS = 0;
    private static final int WRITTEN = 1;

    Counter() {
      super("archive", "output/archive/records", "output/archive/written");
    }

    @Override
    public void processElement(StreamRecord<OutputRecord> element) {
      count(RECORDS, 1);
      count(WRITTEN, 1);
      output.collect(element);
    }
  }

  /** Names the folder of a record: {@code day=2026-01-31/hour=10}, in UTC. */
  static final class HourAssigner implements BucketAssigner<OutputRecord, String> {
    private static final long serialVersionUID = 1;

    @Override
    public String getBucketId(OutputRecord record, Context context) {
      String ts = JsonFields.text(record.value(), "ts");
      return "day=" + ts.substring(0, 10) + "/hour=" + ts.substring(11, 13);
    }

    @Override
    public SimpleVersionedSerializer<String> getSerializer() {
      return SimpleVersionedStringSerializer.INSTANCE;
    }
  }
}
