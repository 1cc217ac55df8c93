package dnscribe.stream.detect;

import dnscribe.stream.config.Config;
import dnscribe.stream.config.Detect;
import dnscribe.stream.fleet.NodeWindow;
import dnscribe.stream.job.JobBuilder;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import java.time.Duration;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;

/**
 * Fleet detection as part of the job {@code fleet}: nodes' windows and enriched records to
 * findings, findings to alerts, alerts to their topic and to Alertmanager.
 *
 * <p>Rules on windows, rules on enriched records and rules on probes have an engine each, so that
 * one input that is behind does not delay the others' alerts.
 */
public final class FleetDetection {
  static final TypeInformation<Cell> CELL = TypeInformation.of(Cell.class);
  private static final TypeInformation<Finding> FINDING = TypeInformation.of(Finding.class);
  static final TypeInformation<Signal> SIGNAL = TypeInformation.of(Signal.class);

  private FleetDetection() {}

  /** Adds detection to a job; {@code windows} has the watermarks of the fleet's progress. */
  public static void add(JobBuilder job, Config config, DataStream<NodeWindow> windows) {
    Detect settings = config.detect();
    if (!settings.enabled()) {
      return;
    }
    Config.TopicNames topics = config.kafka().topics();
    DataStream<Signal> othersAlerts = othersAlerts(job, config);
    DataStream<Signal> context = changes(job, config).union(othersAlerts);
    DataStream<OutputRecord> alerts =
        alerts(
            job,
            settings,
            topics.alerts(),
            "windows",
            windows
                .flatMap(new WindowCells())
                .returns(CELL)
                .uid("window-cells")
                .union(othersAlerts.flatMap(new ProbeCells()).returns(CELL).uid("probe-cells")),
            context);
    if (settings.readsEnriched()) {
      DataStream<KafkaRecord> records =
          job.source(
              topics.enriched(),
              config.fleet().group() + "-detect",
              "detect-enriched",
              WatermarkStrategy.noWatermarks());
      SingleOutputStreamOperator<Cell> cells =
          job.transform(records, "detect-read-enriched", CELL, new EnrichedReader(config));
      job.addDeadLetters(cells.getSideOutput(RecordReader.DEAD_LETTERS));
      alerts = alerts.union(alerts(job, settings, topics.alerts(), "answers", cells, context));
    }
    if (settings.rule(Rule.SITE_DISAGREEMENT).enabled()) {
      DataStream<KafkaRecord> records =
          job.source(
              topics.probes(),
              config.fleet().group() + "-detect",
              "detect-probes",
              WatermarkStrategy.noWatermarks());
      DataStream<Cell> cells =
          job.transform(records, "detect-read-probes", CELL, new ProbeReader(config));
      alerts = alerts.union(alerts(job, settings, topics.alerts(), "sites", cells, context));
    }
    job.toTopic(alerts, topics.alerts());
    if (!config.alertmanager().urls().isEmpty()) {
      job.transform(
              alerts,
              "alertmanager",
              TypeInformation.of(Void.class),
              new AlertmanagerWriter(config.alertmanager()))
          .setParallelism(1);
    }
  }

  /** Returns the alerts of cells; {@code context} has changes, nodes' and probes' alerts. */
  static DataStream<OutputRecord> alerts(
      JobBuilder job,
      Detect settings,
      String topic,
      String name,
      DataStream<Cell> cells,
      DataStream<Signal> context) {
    DataStream<Signal> findings =
        job.transform(
                cells.keyBy(Cell::bucket),
                "detect-" + name,
                FINDING,
                new DetectOperator("detect-" + name, settings))
            .map(Signal::of)
            .returns(SIGNAL)
            .uid("signals-" + name);
    return job.transform(
            findings.union(context),
            "alerts-" + name,
            JobBuilder.OUTPUT,
            new AlertOperator("alerts-" + name, settings, topic))
        .setParallelism(1);
  }

  private static DataStream<Signal> changes(JobBuilder job, Config config) {
    // Changes are few. While some are read, findings of their time wait for them.
    DataStream<KafkaRecord> changes =
        job.source(
            config.kafka().topics().changes(),
            config.fleet().group() + "-detect",
            "detect-changes",
            WatermarkStrategy.<KafkaRecord>forMonotonousTimestamps()
                .withIdleness(Duration.ofSeconds(5)));
    return job.transform(
        changes, "detect-read-changes", SIGNAL, new SignalReader("detect-changes", true));
  }

  /** Returns the alerts of nodes and probes. */
  private static DataStream<Signal> othersAlerts(JobBuilder job, Config config) {
    // The clocks of nodes and probes may be wrong, so nothing waits for their alerts.
    DataStream<KafkaRecord> alerts =
        job.source(
            config.kafka().topics().alerts(),
            config.fleet().group() + "-detect",
            "detect-alerts",
            WatermarkStrategy.<KafkaRecord>forGenerator(context -> new Idle()));
    return job.transform(
        alerts, "detect-read-alerts", SIGNAL, new SignalReader("detect-alerts", false));
  }

  /** Watermarks of a source that nothing waits for. */
  private static final class Idle implements WatermarkGenerator<KafkaRecord> {
    @Override
    public void onEvent(KafkaRecord event, long timestamp, WatermarkOutput output) {}

    @Override
    public void onPeriodicEmit(WatermarkOutput output) {
      output.markIdle();
    }
  }
}
