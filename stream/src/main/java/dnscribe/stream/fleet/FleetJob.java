package dnscribe.stream.fleet;

import dnscribe.stream.config.Arguments;
import dnscribe.stream.config.Config;
import dnscribe.stream.config.FleetConfig;
import dnscribe.stream.detect.FleetDetection;
import dnscribe.stream.job.JobBuilder;
import dnscribe.stream.job.RecordReader;
import java.time.Duration;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.util.Collector;

/** The job {@code fleet}: the windows of all nodes, merged, to dns.fleet. */
public final class FleetJob {
  private static final int HOUR = 3600;
  private static final int DAY = 86_400;
  private static final TypeInformation<NodeWindow> NODE_WINDOW =
      TypeInformation.of(NodeWindow.class);

  private FleetJob() {}

  /** Submits the job to the cluster in whose context this runs. */
  public static void submit(Config config, Arguments arguments) throws Exception {
    JobBuilder job = new JobBuilder("fleet", config, arguments);
    // No operator keeps or changes a record that it has passed on or received.
    job.reuseObjects();
    Config.TopicNames topics = config.kafka().topics();

    SingleOutputStreamOperator<NodeWindow> windows = windows(job, config);
    SingleOutputStreamOperator<FleetWindow> merged =
        job.transform(
            windows
                .flatMap(FleetJob::regroup)
                .returns(NODE_WINDOW)
                .uid("regroup")
                .keyBy(w -> w.key().text()),
            "merge",
            TypeInformation.of(FleetWindow.class),
            new WindowMerger(config.fleet().allowedLateness()));
    if (config.fleet().sinks().contains("fleet")) {
      write(
          job,
          merged,
          "write",
          new FleetEncoder("encoder", topics.fleet(), config.kafka()),
          topics.fleet());
    }
    if (config.fleet().sinks().contains("rollups")) {
      write(
          job,
          rollups(job, config.fleet(), merged),
          "write-rollups",
          new FleetEncoder("encoder-rollups", topics.fleetRollups(), config.kafka()),
          topics.fleetRollups());
    }
    FleetDetection.add(job, config, windows);
    job.execute();
  }

  private static void write(
      JobBuilder job,
      DataStream<FleetWindow> windows,
      String uid,
      FleetEncoder encoder,
      String topic) {
    var records = job.transform(windows, uid, JobBuilder.OUTPUT, encoder);
    job.addDeadLetters(records.getSideOutput(RecordReader.DEAD_LETTERS));
    job.toTopic(records, topic);
  }

  /** Returns the hours and days that final windows are part of. */
  private static DataStream<FleetWindow> rollups(
      JobBuilder job, FleetConfig settings, DataStream<FleetWindow> merged) {
    int base = (int) settings.rollupWindow().toSeconds();
    DataStream<FleetWindow> parts =
        merged
            .filter(
                window ->
                    window.isFinal()
                        && window.key().lengthSeconds() == base
                        && window.key().stepSeconds() == base)
            .uid("parts");
    DataStream<FleetWindow> hours = rollup(job, parts, HOUR, settings.rollupInterval());
    DataStream<FleetWindow> finalHours = hours.filter(FleetWindow::isFinal).uid("hours");
    return hours.union(rollup(job, finalHours, DAY, settings.rollupInterval()));
  }

  private static DataStream<FleetWindow> rollup(
      JobBuilder job, DataStream<FleetWindow> parts, int seconds, Duration interval) {
    return job.transform(
        parts.keyBy(window -> RollupMerger.longer(window.key(), seconds).text()),
        "rollup-" + seconds,
        TypeInformation.of(FleetWindow.class),
        new RollupMerger(seconds, interval));
  }

  /** Returns each window of each node once, with watermarks of the fleet's progress. */
  private static SingleOutputStreamOperator<NodeWindow> windows(JobBuilder job, Config config) {
    Config.TopicNames topics = config.kafka().topics();
    var records =
        job.source(
            topics.metrics(), config.fleet().group(), "windows", WatermarkStrategy.noWatermarks());
    SingleOutputStreamOperator<NodeWindow> timed =
        job.read(
            records,
            "read-windows",
            NodeWindow.class,
            new RecordReader<>(
                "reader",
                "metrics",
                topics.metrics(),
                topics.dlq(),
                true,
                config.kafka().registry(),
                NodeWindowParser::new));
    timed =
        timed
            .transform("clock", NODE_WINDOW, new ClockOperator(config.fleet()))
            .uid("clock")
            .setParallelism(1);
    return job.transform(
        timed.keyBy(NodeWindow::node),
        "deduplicate-windows",
        NODE_WINDOW,
        new WindowDeduplicator(topics.metrics(), config.fleet().deduplicate()));
  }

  /** Gives a window to the groupings of merged windows that it is part of. */
  private static void regroup(NodeWindow window, Collector<NodeWindow> out) {
    String grouping = window.key().grouping();
    if (grouping.equals("node")) {
      out.collect(window.withKey(window.key().regroup("all", null)));
      if (window.region() != null) {
        out.collect(window.withKey(window.key().regroup("region", window.region())));
      }
    } else if (NodeWindow.isMerged(grouping)) {
      out.collect(window);
    }
  }
}
