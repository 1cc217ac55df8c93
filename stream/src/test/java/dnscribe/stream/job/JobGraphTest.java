package dnscribe.stream.job;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dnscribe.stream.Savepoints;
import dnscribe.stream.config.Arguments;
import dnscribe.stream.config.Config;
import dnscribe.stream.config.ConfigException;
import dnscribe.stream.enrich.EnrichJob;
import dnscribe.stream.fleet.FleetJob;
import dnscribe.stream.store.StoreJob;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.CoreOptions;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.runtime.OperatorIDPair;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.runtime.jobgraph.JobVertex;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.graph.StreamGraph;
import org.apache.flink.streaming.api.graph.StreamingJobGraphGenerator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The jobs as a cluster gets them: Flink refuses two operators with one uid only there. */
class JobGraphTest {
  @TempDir private Path folder;

  /** Keeps the graphs of jobs instead of running them. */
  private static final class Graphs extends StreamExecutionEnvironment {
    private static final List<JobGraph> SUBMITTED = new ArrayList<>();

    private Graphs(Configuration options) {
      super(options);
    }

    static void keep(Configuration cluster) {
      SUBMITTED.clear();
      initializeContextEnvironment(
          options -> {
            Configuration all = new Configuration(cluster);
            all.addAll(options);
            return new Graphs(all);
          });
    }

    static void forget() {
      resetContextEnvironment();
    }

    @Override
    public JobClient executeAsync(StreamGraph graph) {
      SUBMITTED.add(StreamingJobGraphGenerator.createJobGraph(graph));
      throw new Submitted();
    }
  }

  private static final class Submitted extends RuntimeException {
    private static final long serialVersionUID = 1;
  }

  private interface Job {
    void submit(Config config, Arguments arguments) throws Exception;
  }

  @BeforeEach
  void keep() {
    Configuration cluster = new Configuration();
    // What has an id of its own is found in savepoints of other versions.
    cluster.set(PipelineOptions.AUTO_GENERATE_UIDS, false);
    Graphs.keep(cluster);
  }

  @AfterEach
  void forget() {
    Graphs.forget();
  }

  @Test
  void everyJobHasAGraph() throws Exception {
    for (String more :
        List.of(
            "",
            "archive: { path: file:///tmp/archive }\nalertmanager: { urls: [http://a:9093] }\n",
            "detect: { enabled: false }\n",
            "fleet: { sinks: [fleet] }\n")) {
      submit(new Arguments("enrich", null, null, null, null), EnrichJob::submit, more);
      submit(new Arguments("fleet", null, null, null, null), FleetJob::submit, more);
    }
    for (String store : List.of("clickhouse", "timescaledb", "influxdb", "archive")) {
      String more = "archive: { path: file:///tmp/archive }\n";
      submit(new Arguments("store", null, null, null, store), StoreJob::submit, more);
    }
    String start = "2026-01-01T00:00:00Z";
    Instant end = Instant.parse("2026-01-02T00:00:00Z");
    for (String store : List.of("clickhouse", "timescaledb")) {
      submit(new Arguments("store", null, start, end, store), StoreJob::submit, "");
    }
    assertThat(Graphs.SUBMITTED).hasSize(14).allMatch(graph -> graph.getNumberOfVertices() > 1);
    assertThat(Graphs.SUBMITTED)
        .map(graph -> graph.getCheckpointingSettings().getCheckpointCoordinatorConfiguration())
        .allMatch(checkpoints -> checkpoints.getTolerableCheckpointFailureNumber() == 0)
        .allMatch(checkpoints -> checkpoints.getCheckpointTimeout() == 300_000)
        .allMatch(checkpoints -> checkpoints.getMaxConcurrentCheckpoints() == 1);
    // By these names an operator finds its state in a savepoint.
    Set<String> operators = new TreeSet<>();
    for (JobGraph graph : Graphs.SUBMITTED) {
      for (JobVertex vertex : graph.getVertices()) {
        for (OperatorIDPair operator : vertex.getOperatorIDs()) {
          operators.add(graph.getName() + ": " + operator.getUserDefinedOperatorUid());
        }
      }
    }
    assertThat(operators).containsAll(Savepoints.keptLines("operators", operators));
  }

  @Test
  void oneSubtaskGetsItsRecordsWithoutAnExchange() throws Exception {
    Configuration cluster = new Configuration();
    cluster.set(CoreOptions.DEFAULT_PARALLELISM, 1);
    assertThat(deduplicatesWhereItReads(cluster)).containsOnly(true);
    // The graph is built anew at each start, and with it the exchange comes back.
    cluster.set(CoreOptions.DEFAULT_PARALLELISM, 2);
    assertThat(deduplicatesWhereItReads(cluster)).containsOnly(false);
  }

  /** These change the parallelism of a graph that was made for one subtask. */
  @ParameterizedTest
  @CsvSource({
    "jobmanager.scheduler, adaptive",
    "scheduler-mode, reactive",
    "pipeline.jobvertex-parallelism-overrides, 00000000000000000000000000000001:2",
  })
  void whatMayBeRescaledHasAnExchange(String key, String value) throws Exception {
    Configuration cluster = new Configuration();
    cluster.set(CoreOptions.DEFAULT_PARALLELISM, 1);
    cluster.setString(key, value);
    assertThat(deduplicatesWhereItReads(cluster)).containsOnly(false);
  }

  /** Returns of each deduplicator whether it is in one chain with a source. */
  private List<Boolean> deduplicatesWhereItReads(Configuration cluster) throws Exception {
    Graphs.keep(cluster);
    submit(new Arguments("enrich", null, null, null, null), EnrichJob::submit, "");
    submit(new Arguments("store", null, null, null, "clickhouse"), StoreJob::submit, "");
    List<Boolean> found = new ArrayList<>();
    for (JobGraph graph : Graphs.SUBMITTED) {
      for (JobVertex vertex : graph.getVertices()) {
        if (vertex.getName().contains("deduplicate")) {
          found.add(vertex.getName().contains("Source: "));
        }
      }
    }
    // That of enrich, and of the store one for each topic.
    assertThat(found).hasSizeGreaterThanOrEqualTo(5);
    return found;
  }

  @Test
  void unalignedCheckpointsAreRefused() throws IOException {
    Path file = folder.resolve("stream.yaml");
    Files.writeString(file, "version: 1");
    Configuration cluster = new Configuration();
    cluster.set(CheckpointingOptions.ENABLE_UNALIGNED, true);
    Graphs.keep(cluster);
    Arguments arguments = new Arguments("enrich", file, null, null, null);
    assertThatThrownBy(() -> EnrichJob.submit(Config.load(file), arguments))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("execution.checkpointing.unaligned");
  }

  @Test
  void storesThatABackfillWouldHarmHaveNone() throws IOException {
    Path file = folder.resolve("stream.yaml");
    Files.writeString(file, "version: 1\narchive: { path: file:///tmp/archive }\n");
    String start = "2026-01-01T00:00:00Z";
    Instant end = Instant.parse("2026-01-02T00:00:00Z");
    for (var store :
        Map.of("influxdb", "would replace whole ones", "archive", "a second time").entrySet()) {
      Arguments arguments = new Arguments("store", file, start, end, store.getKey());
      assertThatThrownBy(() -> StoreJob.submit(Config.load(file), arguments))
          .isInstanceOf(ConfigException.class)
          .hasMessageStartingWith("--to: ")
          .hasMessageContaining(store.getValue());
    }
  }

  @Test
  void aStoreThatIsSwitchedOffHasNoJob() throws IOException {
    Path file = folder.resolve("stream.yaml");
    Files.writeString(file, "version: 1\nstore: { stores: [clickhouse, archive] }\n");
    for (var store :
        Map.of("influxdb", "store.stores: [clickhouse, archive]", "archive", "archive.path")
            .entrySet()) {
      Arguments arguments = new Arguments("store", file, null, null, store.getKey());
      assertThatThrownBy(() -> StoreJob.submit(Config.load(file), arguments))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining(store.getValue());
    }
  }

  private void submit(Arguments arguments, Job job, String more) throws Exception {
    Path file = folder.resolve("stream.yaml");
    Files.writeString(file, "version: 1\nkafka: { brokers: \"localhost:1\" }\n" + more);
    assertThatThrownBy(() -> job.submit(Config.load(file), arguments))
        .isInstanceOf(Submitted.class);
  }
}
