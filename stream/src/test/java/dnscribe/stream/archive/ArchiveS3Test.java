package dnscribe.stream.archive;

import static org.assertj.core.api.Assertions.assertThat;

import dnscribe.stream.config.ArchiveConfig;
import dnscribe.stream.config.Arguments;
import dnscribe.stream.config.Config;
import dnscribe.stream.job.JobBuilder;
import dnscribe.stream.kafka.OutputRecord;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Stream;
import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.fs.FileSystem;
import org.apache.flink.runtime.testutils.MiniClusterResourceConfiguration;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.test.junit5.MiniClusterExtension;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.io.TempDir;

/** The archive on a real S3-compatible server: the Versity gateway, before a local folder. */
@EnabledIfEnvironmentVariable(named = ArchiveS3Test.SERVER, matches = ".+")
class ArchiveS3Test {
  /** Variable with the path of the server's program. */
  static final String SERVER = "DNSCRIBE_VERSITYGW";

  @RegisterExtension
  static final MiniClusterExtension CLUSTER =
      new MiniClusterExtension(
          new MiniClusterResourceConfiguration.Builder()
              .setNumberTaskManagers(1)
              .setNumberSlotsPerTaskManager(2)
              .build());

  private static final String KEY = "dnscribe";
  private static final String SECRET = "dnscribe-development";
  private static final int RECORDS = 2_000;

  @TempDir Path folder;
  private Process server;

  @BeforeEach
  void start() throws Exception {
    int port;
    try (ServerSocket free = new ServerSocket(0)) {
      port = free.getLocalPort();
    }
    server =
        new ProcessBuilder(
                System.getenv(SERVER),
                "--access",
                KEY,
                "--secret",
                SECRET,
                "--port",
                "127.0.0.1:" + port,
                "posix",
                "--sidecar",
                Files.createDirectory(folder.resolve("metadata")).toString(),
                Files.createDirectory(folder.resolve("buckets")).toString())
            .redirectErrorStream(true)
            .redirectOutput(folder.resolve("log").toFile())
            .start();
    Files.createDirectory(folder.resolve("buckets/dns"));
    while (!answers(port)) {
      assertThat(server.isAlive()).as(Files.readString(folder.resolve("log"))).isTrue();
      Thread.sleep(50);
    }
    Configuration options = new Configuration();
    options.setString("s3.endpoint", "http://127.0.0.1:" + port);
    options.setString("s3.path.style.access", "true");
    options.setString("s3.access-key", KEY);
    options.setString("s3.secret-key", SECRET);
    // Folders need no objects of their own, and removing these takes requests.
    options.setString("s3.directory.marker.retention", "keep");
    FileSystem.initialize(options, null);
  }

  @AfterEach
  void stop() throws Exception {
    FileSystem.initialize(new Configuration(), null);
    server.destroy();
    assertThat(server.waitFor(10, TimeUnit.SECONDS)).isTrue();
  }

  @Test
  @Timeout(600)
  void eachRecordOnceAlthoughTheJobFails() throws Exception {
    ArchiveConfig settings = new ArchiveConfig("s3a://dns/archive", null, null);
    Config.Checkpoints checkpoints = new Config.Checkpoints(Duration.ofMillis(200), null);
    Config config =
        new Config(1, null, null, null, null, null, null, null, checkpoints, null, null, settings);
    Arguments arguments = new Arguments("enrich", Path.of("stream.yaml"), null, null, null);
    JobBuilder job = new JobBuilder("enrich", config, arguments);
    job.environment().setParallelism(2);
    DataStream<OutputRecord> records =
        job.environment()
            .fromSequence(0, RECORDS - 1)
            .map(new FailingOnce())
            .returns(JobBuilder.OUTPUT);
    Archive.add(job, records, settings);
    job.executeWithoutLedger();

    assertThat(FailingOnce.FAILED).isTrue();
    List<Path> files;
    try (Stream<Path> tree = Files.walk(folder.resolve("buckets"))) {
      files = tree.filter(file -> file.toString().endsWith(".parquet")).toList();
    }
    long rows = 0;
    for (Path file : files) {
      rows += Footers.read(file).getNum_rows();
    }
    assertThat(rows).isEqualTo(RECORDS);
    assertThat(files)
        .extracting(file -> folder.resolve("buckets").relativize(file.getParent()).toString())
        .contains("dns/archive/day=2026-01-31/hour=00", "dns/archive/day=2026-01-31/hour=01");
    // There was more than one checkpoint: two subtasks write two hours.
    assertThat(files).hasSizeGreaterThan(2 * 2);
  }

  private static boolean answers(int port) {
    try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
      return socket.isConnected();
    } catch (IOException error) {
      return false;
    }
  }

  /** Makes records for some seconds, and fails once in the middle. */
  private static final class FailingOnce implements MapFunction<Long, OutputRecord> {
    private static final long serialVersionUID = 1;
    static final AtomicBoolean FAILED = new AtomicBoolean();

    @Override
    public OutputRecord map(Long number) throws Exception {
      Thread.sleep(1);
      if (number == RECORDS / 4 && FAILED.compareAndSet(false, true)) {
        throw new IllegalStateException("a failure, as wanted");
      }
      return ParquetFileTest.record(number);
    }
  }
}
