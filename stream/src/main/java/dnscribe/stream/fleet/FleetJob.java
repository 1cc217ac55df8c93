package dnscribe.stream.fleet;

import dnscribe.stream.config.Arguments;
import dnscribe.stream.config.Config;
import dnscribe.stream.detect.FleetDetection;
import dnscribe.stream.job.JobBuilder;
import dnscribe.stream.job.RecordReader;
import java.util.List;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.util.Collector;

/** The job {@code fleet}: the windows of all nodes, merged, to dns.fleet and the stores. */
public final class FleetJob {
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
            windows.flatMap(FleetJob::regroup).returns(NODE_WINDOW).keyBy(w -> w.key().text()),
            "merge",
            TypeInformation.of(FleetWindow.class),
            job.isBackfill()
                ? new BackfillMerger(job.span())
                : new WindowMerger(config.fleet().allowedLateness()));
    if (config.fleet().sinks().contains("fleet") && !job.isBackfill()) {
      job.toTopic(
          job.transform(merged, "write", JobBuilder.OUTPUT, new FleetEncoder(topics.fleet())),
          topics.fleet());
    }
    StoreSinks stores = new StoreSinks(job, config);
    stores.windows(merged);
    if (!config.fleet().sinks().equals(List.of("fleet"))) {
      stores.events(topics.alerts(), "dns.alert/1", "dns_alerts");
      stores.events(topics.changes(), "dns.change/1", "dns_changes");
      stores.probePoints(stores.events(topics.probes(), "dns.probe/1", "dns_probes"));
    }
    FleetDetection.add(job, config, windows);
    job.execute(config.fleet().sinks().contains("timescaledb"));
  }

  /** Returns each window of each node once, with watermarks of the fleet's progress. */
  private static SingleOutputStreamOperator<NodeWindow> windows(JobBuilder job, Config config) {
    Config.TopicNames topics = config.kafka().topics();
    var records = job.windowSource(topics.metrics(), config.fleet().group(), "windows");
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
                !job.isBackfill(),
                config.kafka().registry(),
                NodeWindowParser::new));
    if (!job.isBackfill()) {
      timed =
          timed
              .transform("clock", NODE_WINDOW, new ClockOperator(config.fleet()))
              .uid("clock")
              .setParallelism(1);
    }
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
