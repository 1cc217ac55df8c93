package dnscribe.stream.detect;

import static dnscribe.stream.detect.Detection.BASE;
import static dnscribe.stream.detect.Detection.MINUTE;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dnscribe.stream.config.Arguments;
import dnscribe.stream.config.Config;
import dnscribe.stream.job.JobBuilder;
import dnscribe.stream.kafka.OutputRecord;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.runtime.testutils.MiniClusterResourceConfiguration;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.test.junit5.MiniClusterExtension;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** The operators of detection as a job on a cluster of Flink, with two subtasks each. */
class FleetDetectionTest {
  private static final int PARALLELISM = 2;

  @RegisterExtension
  static final MiniClusterExtension FLINK =
      new MiniClusterExtension(
          new MiniClusterResourceConfiguration.Builder()
              .setNumberTaskManagers(1)
              .setNumberSlotsPerTaskManager(PARALLELISM)
              .build());

  @Test
  void cellsBecomeAlerts() throws Exception {
    Config config = new Config(1, null, null, null, null, null, null, null, null, null, null, null);
    JobBuilder job =
        new JobBuilder("fleet", config, new Arguments("fleet", Path.of("none"), null, null, null));
    List<Cell> cells = new ArrayList<>();
    for (int minute = 0; minute < 10; minute++) {
      for (String node : List.of("n1", "n2", "n3", "n4")) {
        long failed = minute >= 6 && !node.equals("n4") ? 90 : 0;
        long start = BASE + minute * MINUTE;
        cells.add(Detection.resolver(start, node, "eu", 100, failed, 5));
        cells.add(Detection.zone(start, "example.com", node, node, 100, 0, 0));
      }
    }
    Change change = new Change("c1", BASE, "deploy", null, "192.0.2.53", "new", null, null, null);
    NodeAlert alert = new NodeAlert("a1", BASE + 7 * MINUTE, "resolver_down", "192.0.2.53", null);
    ProbeAlert probe =
        new ProbeAlert(
            "b1",
            BASE + 8 * MINUTE,
            "verdict_dns",
            "shop",
            "example.com",
            null,
            "192.0.2.53",
            "It fails.",
            BASE + 7 * MINUTE,
            true);
    DataStream<Signal> context =
        job.environment()
            .fromData(
                List.of(Signal.of(change), Signal.of(alert), Signal.of(probe)),
                FleetDetection.SIGNAL)
            .assignTimestampsAndWatermarks(
                WatermarkStrategy.<Signal>forMonotonousTimestamps()
                    .withTimestampAssigner((signal, time) -> signal.time()));
    DataStream<OutputRecord> alerts =
        FleetDetection.alerts(
            job,
            config.detect(),
            "dns.alerts",
            "windows",
            job.environment()
                .fromData(cells, FleetDetection.CELL)
                .assignTimestampsAndWatermarks(
                    WatermarkStrategy.<Cell>forMonotonousTimestamps()
                        .withTimestampAssigner((cell, time) -> cell.start()))
                .union(context.flatMap(new ProbeCells()).returns(FleetDetection.CELL)),
            context);
    List<JsonNode> records = new ArrayList<>();
    try (var output = alerts.executeAndCollect()) {
      while (output.hasNext()) {
        records.add(new ObjectMapper().readTree(output.next().value()));
      }
    }
    assertThat(records).hasSize(2);
    JsonNode impact = records.get(1);
    assertThat(impact.path("rule").asText()).isEqualTo("service_impact");
    assertThat(impact.path("entity").asText()).isEqualTo("service=shop,zone=example.com");
    assertThat(impact.at("/probes/0/alert_id").asText()).isEqualTo("b1");
    JsonNode record = records.get(0);
    assertThat(record.path("rule").asText()).isEqualTo("resolver_failing");
    assertThat(record.path("ts").asText()).isEqualTo("2026-01-05T00:07:00Z");
    assertThat(record.path("nodes")).extracting(JsonNode::asText).containsExactly("n1", "n2", "n3");
    assertThat(record.at("/changes/0/event_id").asText()).isEqualTo("c1");
    assertThat(record.at("/suppressed_alerts/0").asText()).isEqualTo("a1");
  }
}
