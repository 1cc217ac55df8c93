package dnscribe.stream.fleet;

import dnscribe.stream.config.Config;
import dnscribe.stream.config.TimescaleDbConfig;
import dnscribe.stream.job.BackfillSpan;
import dnscribe.stream.job.JobBuilder;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.store.InfluxDbWriter;
import dnscribe.stream.store.StoreWriter;
import dnscribe.stream.store.TimescaleDbWriter;
import java.time.Duration;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;

/** The job's ways to TimescaleDB and InfluxDB. */
final class StoreSinks {
  private static final int BATCH_BYTES = 8 * 1024 * 1024;
  private static final int HOUR = 3600;
  private static final int DAY = 86_400;
  private static final TypeInformation<FleetWindow> WINDOW = TypeInformation.of(FleetWindow.class);

  private final JobBuilder job;
  private final Config config;

  StoreSinks(JobBuilder job, Config config) {
    this.job = job;
    this.config = config;
  }

  /** Longer than any span. */
  private static final Duration AGES = Duration.ofDays(36_500);

  private boolean hasTimescaleDb() {
    return config.fleet().sinks().contains("timescaledb");
  }

  private boolean hasInfluxDb() {
    return config.fleet().sinks().contains("influxdb");
  }

  /** Writes merged windows and their roll-ups. */
  void windows(DataStream<FleetWindow> merged) {
    if (hasTimescaleDb()) {
      table("dns_fleet", encoded(merged), fleetCall("dns_fleet"));
      // The watermark says when the last part is final; a backfill waits for its end.
      Duration finalAfter = job.isBackfill() ? AGES : Duration.ZERO;
      int base = (int) config.fleet().rollupWindow().toSeconds();
      DataStream<FleetWindow> parts =
          merged
              .filter(
                  window ->
                      window.isFinal()
                          && window.key().lengthSeconds() == base
                          && window.key().stepSeconds() == base)
              .name("parts");
      DataStream<FleetWindow> hours =
          rollup(parts, HOUR, config.fleet().rollupInterval(), finalAfter);
      table("dns_fleet_1h", encoded(hours), fleetCall("dns_fleet_1h"));
      DataStream<FleetWindow> days =
          rollup(
              hours.filter(FleetWindow::isFinal).name("hours"),
              DAY,
              config.fleet().rollupInterval(),
              finalAfter);
      table("dns_fleet_1d", encoded(days), fleetCall("dns_fleet_1d"));
    }
    if (hasInfluxDb()) {
      SingleOutputStreamOperator<OutputRecord> points =
          merged
              .transform(
                  "points",
                  JobBuilder.OUTPUT,
                  new InfluxEncoder(config.influxdb().maxZones(), config.fleet().allowedLateness()))
              .uid("points")
              .setParallelism(1);
      points(points, "dns_fleet");
    }
  }

  /** Writes a topic of alerts, probes or changes to a table of its own, each record once. */
  DataStream<OutputRecord> events(String topic, String schema, String table) {
    String stream = table.substring("dns_".length());
    var records =
        job.source(topic, config.fleet().group(), stream, WatermarkStrategy.noWatermarks());
    SingleOutputStreamOperator<OutputRecord> checked =
        job.read(
            records,
            "read-" + stream,
            OutputRecord.class,
            new RecordReader<>(
                "reader-" + topic,
                stream,
                topic,
                config.kafka().topics().dlq(),
                !job.isBackfill(),
                config.kafka().registry(),
                () -> new EventParser(schema)));
    SingleOutputStreamOperator<OutputRecord> unique =
        job.transform(
            checked.keyBy(OutputRecord::eventId),
            "deduplicate-" + stream,
            JobBuilder.OUTPUT,
            new EventDeduplicator(topic, config.fleet().deduplicate()));
    if (hasTimescaleDb()) {
      table(table, unique, table + "_put(?::jsonb)");
    }
    return unique;
  }

  /** Writes the points of probes. */
  void probePoints(DataStream<OutputRecord> probes) {
    if (hasInfluxDb()) {
      points(probes.map(ProbePoint::of).returns(JobBuilder.OUTPUT).name("points"), "dns_probe");
    }
  }

  private DataStream<FleetWindow> rollup(
      DataStream<FleetWindow> parts, int seconds, Duration interval, Duration finalAfter) {
    SingleOutputStreamOperator<FleetWindow> longer =
        job.transform(
            parts.keyBy(window -> RollupMerger.longer(window.key(), seconds).text()),
            "rollup-" + seconds,
            WINDOW,
            new RollupMerger(seconds, interval, finalAfter));
    BackfillSpan span = job.span();
    // A backfill leaves alone what it has only a part of.
    return span == null
        ? longer
        : longer
            .filter(
                window ->
                    window.isFinal() && span.covers(window.key().startMs(), window.key().endMs()))
            .name("covered");
  }

  private static DataStream<OutputRecord> encoded(DataStream<FleetWindow> windows) {
    return windows.map(FleetRecord::of).returns(JobBuilder.OUTPUT).name("encode");
  }

  /** A backfill makes rows anew, whatever their revisions. */
  private String fleetCall(String table) {
    return "dns_fleet_put('" + table + "', ?::jsonb, " + job.isBackfill() + ")";
  }

  private void table(String table, DataStream<OutputRecord> records, String call) {
    TimescaleDbConfig settings = config.timescaledb();
    write(
        records,
        "timescaledb-" + table,
        new TimescaleDbWriter(
            settings,
            table,
            call,
            batches(settings.batchRows(), settings.batchWait()),
            table.equals("dns_fleet") && !job.isBackfill()));
  }

  private void points(DataStream<OutputRecord> points, String measurement) {
    write(
        points,
        "influxdb-" + measurement,
        new InfluxDbWriter(
            config.influxdb(),
            measurement,
            batches(config.influxdb().batchRows(), config.influxdb().batchWait())));
  }

  private void write(DataStream<OutputRecord> records, String uid, StoreWriter writer) {
    job.addDeadLetters(job.transform(records, uid, JobBuilder.OUTPUT, writer));
  }

  private StoreWriter.Settings batches(int rows, Duration wait) {
    return new StoreWriter.Settings(
        rows, BATCH_BYTES, wait, config.kafka().topics().dlq(), !job.isBackfill());
  }
}
