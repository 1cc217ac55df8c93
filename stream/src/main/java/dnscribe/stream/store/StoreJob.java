package dnscribe.stream.store;

import dnscribe.stream.archive.Archive;
import dnscribe.stream.config.Arguments;
import dnscribe.stream.config.Config;
import dnscribe.stream.config.ConfigException;
import dnscribe.stream.config.InfluxDbConfig;
import dnscribe.stream.config.StoreConfig;
import dnscribe.stream.config.TimescaleDbConfig;
import dnscribe.stream.fleet.FleetProgress;
import dnscribe.stream.fleet.FleetWindow;
import dnscribe.stream.fleet.FleetWindowParser;
import dnscribe.stream.fleet.InfluxEncoder;
import dnscribe.stream.fleet.ProbePoint;
import dnscribe.stream.job.Deduplicator;
import dnscribe.stream.job.JobBuilder;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.JsonFields;
import java.time.Duration;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;

/**
 * The job {@code store}: topics to one store. Each store has a job of its own, with offsets and
 * checkpoints of its own, so that a store that is away delays itself alone.
 */
public final class StoreJob {
  private static final int BATCH_BYTES = 8 * 1024 * 1024;

  private final JobBuilder job;
  private final Config config;
  private final Config.TopicNames topics;
  private final String group;

  private StoreJob(JobBuilder job, Config config, String store) {
    this.job = job;
    this.config = config;
    this.topics = config.kafka().topics();
    this.group = config.store().group() + "-" + store;
  }

  /** Submits the job of the store that the arguments name. */
  public static void submit(Config config, Arguments arguments) throws Exception {
    String store = arguments.only();
    if (store == null || !config.store().stores().contains(store)) {
      throw new ConfigException(
          "store: --only must be one of store.stores: " + config.store().stores());
    }
    JobBuilder job = new JobBuilder("store-" + store, config, arguments);
    // No operator keeps or changes a record that it has passed on.
    job.reuseObjects();
    StoreJob stores = new StoreJob(job, config, store);
    switch (store) {
      case StoreConfig.CLICKHOUSE -> stores.clickhouse();
      case StoreConfig.TIMESCALEDB -> stores.timescaledb();
      case StoreConfig.INFLUXDB -> stores.influxdb();
      default -> stores.archive();
    }
    job.execute();
  }

  private void clickhouse() {
    clickhouseTable(
        read(topics.enriched(), "enriched", "dns.enriched/1"),
        StoreConfig.CLICKHOUSE,
        ClickHouse.TRANSACTIONS);
    clickhouseEvents(topics.alerts(), "alerts", "dns.alert/1");
    clickhouseEvents(topics.lookups(), "lookups", "dns.lookup/1");
    clickhouseEvents(topics.connections(), "connections", "dns.connection/1");
    clickhouseEvents(topics.uses(), "uses", "dns.use/1");
  }

  private void clickhouseEvents(String topic, String stream, String schema) {
    String table = "dns_" + stream;
    clickhouseTable(unique(topic, stream, schema), "clickhouse." + table, table);
  }

  private void clickhouseTable(DataStream<OutputRecord> records, String sink, String table) {
    Config.ClickHouse settings = config.clickhouse();
    StoreWriter.Settings batches =
        batches(settings.batchRows(), settings.batchBytes(), settings.batchWait());
    write(records, sink, new ClickHouseWriter(settings, sink, table, batches));
  }

  private void timescaledb() {
    table(read(topics.fleet(), "fleet", "dns.fleet/1"), "dns_fleet", fleetCall("dns_fleet"));
    DataStream<OutputRecord> rollups = read(topics.fleetRollups(), "fleet-rollups", "dns.fleet/1");
    table(ofLength(rollups, "3600"), "dns_fleet_1h", fleetCall("dns_fleet_1h"));
    table(ofLength(rollups, "86400"), "dns_fleet_1d", fleetCall("dns_fleet_1d"));
    events(topics.alerts(), "alerts", "dns.alert/1", "dns_alerts");
    events(topics.probes(), "probes", "dns.probe/1", "dns_probes");
    events(topics.changes(), "changes", "dns.change/1", "dns_changes");
    table(
        read(topics.streamLedger(), "stream-ledger", "dns.stream.ledger/1"),
        "stream_ledger",
        "stream_ledger_put(?::jsonb)");
  }

  private void events(String topic, String stream, String schema, String table) {
    table(unique(topic, stream, schema), table, table + "_put(?::jsonb)");
  }

  private static DataStream<OutputRecord> ofLength(
      DataStream<OutputRecord> windows, String seconds) {
    return windows
        .filter(window -> seconds.equals(JsonFields.text(window.value(), "window_seconds")))
        .uid("length-" + seconds);
  }

  private static String fleetCall(String table) {
    return "dns_fleet_put('" + table + "', ?::jsonb, false)";
  }

  private void table(DataStream<OutputRecord> records, String table, String call) {
    TimescaleDbConfig settings = config.timescaledb();
    boolean appliesRetention = table.equals("dns_fleet") && !job.isBackfill();
    write(
        records,
        "timescaledb-" + table,
        new TimescaleDbWriter(
            settings,
            table,
            call,
            batches(settings.batchRows(), BATCH_BYTES, settings.batchWait()),
            appliesRetention));
  }

  private void influxdb() {
    if (job.isBackfill()) {
      // A point is the sum of windows, or has the fields of one revision: the span's may be fewer.
      throw new ConfigException(
          "--to: the points at the end of the span would replace whole ones; submit the job again"
              + " without its state, with --from and without --to");
    }
    var records =
        job.source(
            topics.fleet(),
            group,
            "fleet",
            FleetProgress.watermarks(config.fleet().allowedLateness()));
    SingleOutputStreamOperator<FleetWindow> windows =
        job.read(
            records,
            "read-fleet",
            FleetWindow.class,
            reader("fleet", topics.fleet(), FleetWindowParser::new));
    points(
        job.transform(
                windows,
                "points",
                JobBuilder.OUTPUT,
                new InfluxEncoder(config.influxdb().maxZones(), job.beginMs()))
            .setParallelism(1),
        "dns_fleet");
    points(
        unique(topics.probes(), "probes", "dns.probe/1")
            .map(ProbePoint::of)
            .returns(JobBuilder.OUTPUT)
            .uid("probe-points"),
        "dns_probe");
  }

  private void points(DataStream<OutputRecord> points, String measurement) {
    InfluxDbConfig settings = config.influxdb();
    write(
        points,
        "influxdb-" + measurement,
        new InfluxDbWriter(
            settings,
            measurement,
            batches(settings.batchRows(), BATCH_BYTES, settings.batchWait())));
  }

  private void archive() {
    if (!config.archive().enabled()) {
      throw new ConfigException("archive.path: the job store needs it with --only archive");
    }
    if (job.isBackfill()) {
      // Files have no keys.
      throw new ConfigException("--to: it would write records to the archive a second time");
    }
    Archive.add(job, read(topics.enriched(), "enriched", "dns.enriched/1"), config.archive());
  }

  /** Reads records that a job wrote, each once. */
  private SingleOutputStreamOperator<OutputRecord> read(
      String topic, String stream, String schema) {
    var records = job.source(topic, group, stream, Deduplicator.recordTime());
    return job.read(
        records,
        "read-" + stream,
        OutputRecord.class,
        reader(stream, topic, () -> new EventParser(schema)));
  }

  /** Reads records that agents, probes or people may have written twice, each once. */
  private SingleOutputStreamOperator<OutputRecord> unique(
      String topic, String stream, String schema) {
    return job.transform(
        job.keyBy(read(topic, stream, schema), Deduplicator::key, Types.INT),
        "deduplicate-" + stream,
        JobBuilder.OUTPUT,
        new Deduplicator("deduplicator-" + topic, topic, config.store().deduplicate()));
  }

  private <T> RecordReader<T> reader(
      String stream, String topic, RecordReader.ParserFactory<T> parser) {
    return new RecordReader<>(
        "reader-" + topic,
        stream,
        topic,
        topics.dlq(),
        !job.isBackfill(),
        config.kafka().registry(),
        parser);
  }

  private void write(DataStream<OutputRecord> records, String uid, StoreWriter writer) {
    job.addDeadLetters(job.transform(records, uid, JobBuilder.OUTPUT, writer));
  }

  private StoreWriter.Settings batches(int rows, int bytes, Duration wait) {
    return new StoreWriter.Settings(rows, bytes, wait, topics.dlq(), !job.isBackfill());
  }
}
