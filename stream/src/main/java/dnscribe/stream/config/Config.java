package dnscribe.stream.config;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLFactory;
import java.io.IOException;
import java.io.Serializable;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * Configuration of the jobs: defaults, then the file, then environment variables such as {@code
 * DNSCRIBE_STREAM_KAFKA__BROKERS}.
 */
public record Config(
    int version,
    Kafka kafka,
    Enrich enrich,
    FleetConfig fleet,
    StoreConfig store,
    ClickHouse clickhouse,
    TimescaleDbConfig timescaledb,
    InfluxDbConfig influxdb,
    Checkpoints checkpoints,
    Detect detect,
    Alertmanager alertmanager,
    ArchiveConfig archive)
    implements Serializable {
  private static final String PREFIX = "DNSCRIBE_STREAM_";
  private static final ObjectMapper YAML = mapper(new YAMLFactory());

  /**
   * What Kubernetes sets behind the prefix in each container of a namespace with a Service whose
   * name begins with {@code dnscribe-stream}.
   */
  private static final Pattern OF_SERVICE =
      Pattern.compile(
          "(?!.*__)(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\\d+_(TCP|UDP|SCTP)(_.*)?)?)");

  /** Fills in defaults and refuses what cannot work. */
  public Config {
    if (version != 1) {
      throw new ConfigException("version: this program reads version 1");
    }
    kafka = kafka == null ? new Kafka(null, null, null, null, null, null, null, null, null) : kafka;
    enrich = enrich == null ? new Enrich(null, null, null, null, null, null) : enrich;
    fleet = fleet == null ? FleetConfig.DEFAULT : fleet;
    store = store == null ? StoreConfig.DEFAULT : store;
    clickhouse =
        clickhouse == null
            ? new ClickHouse(null, null, null, null, null, null, null, null, null, null)
            : clickhouse;
    timescaledb = timescaledb == null ? TimescaleDbConfig.DEFAULT : timescaledb;
    influxdb = influxdb == null ? InfluxDbConfig.DEFAULT : influxdb;
    checkpoints = checkpoints == null ? new Checkpoints(null, null) : checkpoints;
    detect = detect == null ? Detect.DEFAULT : detect;
    alertmanager = alertmanager == null ? Alertmanager.DEFAULT : alertmanager;
    archive = archive == null ? ArchiveConfig.DEFAULT : archive;
    checkpoints.check(kafka.transactionTimeout());
  }

  /**
   * Kafka.
   *
   * @param brokers bootstrap servers
   * @param topicPrefix before every topic, as the agent's {@code kafka.topic_prefix}
   * @param topics names of topics
   * @param options client properties, such as {@code security.protocol}
   * @param registry where the schemas of records in Avro are
   * @param partitions of topics that {@code topics} creates, by stream; as the agent's key
   * @param retention how long these topics keep their records, by stream
   * @param replicationFactor copies of each partition of these topics; null for the brokers'
   *     default
   * @param transactionPrefix before the ids of transactions, which two jobs that run at a time must
   *     not share
   */
  public record Kafka(
      String brokers,
      String topicPrefix,
      TopicNames topics,
      Map<String, String> options,
      Registry registry,
      Map<String, Integer> partitions,
      Map<String, Duration> retention,
      Short replicationFactor,
      String transactionPrefix)
      implements Serializable {
    /** The client's setting after which the broker aborts a transaction. */
    public static final String TRANSACTION_TIMEOUT = "transaction.timeout.ms";

    /** The client's setting of the size of a record, before it is compressed. */
    public static final String LARGEST_REQUEST = "max.request.size";

    /** Default of the client, and of the topics with compressed records. */
    private static final int LARGEST_RECORD = 1 << 20;

    /** The longest timeout that brokers allow, unless they are configured otherwise. */
    private static final Duration LONGEST_TRANSACTION = Duration.ofMinutes(15);

    /** Fills in defaults. */
    public Kafka {
      brokers = brokers == null ? "localhost:9092" : brokers;
      topicPrefix = topicPrefix == null ? "" : topicPrefix;
      topics = topics == null ? TopicNames.DEFAULT : topics;
      options = options == null ? Map.of() : Map.copyOf(options);
      registry = registry == null ? new Registry(null, null, null, null) : registry;
      partitions = partitions == null ? Map.of() : Map.copyOf(partitions);
      retention = retention == null ? Map.of() : Map.copyOf(retention);
      transactionPrefix = transactionPrefix == null ? "dnscribe-" : transactionPrefix;
      TopicConfig.check(partitions, retention, replicationFactor);
      if (transactionPrefix.isEmpty()) {
        throw new ConfigException("kafka.transaction_prefix: empty");
      }
    }

    /** Returns the names of topics with the prefix. */
    @Override
    public TopicNames topics() {
      return topics.withPrefix(topicPrefix);
    }

    /** Returns the bytes of a record, uncompressed, up to which the jobs write it to a topic. */
    public int largestRecord() {
      String bytes = options.get(LARGEST_REQUEST);
      try {
        return bytes == null ? LARGEST_RECORD : Integer.parseInt(bytes);
      } catch (NumberFormatException error) {
        throw new ConfigException("kafka.options." + LARGEST_REQUEST + ": not a number of bytes");
      }
    }

    /** Returns the time after which the broker aborts a transaction. */
    public Duration transactionTimeout() {
      String timeout = options.get(TRANSACTION_TIMEOUT);
      try {
        return timeout == null ? LONGEST_TRANSACTION : Duration.ofMillis(Long.parseLong(timeout));
      } catch (NumberFormatException error) {
        throw new ConfigException(
            "kafka.options." + TRANSACTION_TIMEOUT + ": not a number of milliseconds");
      }
    }
  }

  /**
   * A schema registry with Confluent's interface; it is asked only for records in Avro.
   *
   * @param url of the registry
   * @param username for basic authentication
   * @param passwordFile a file with its password
   * @param caFile certificates of authorities in PEM; null for those of Java
   */
  public record Registry(String url, String username, String passwordFile, String caFile)
      implements Serializable {
    /** Reads the password; empty without a file. */
    public String password() throws IOException {
      return readPassword(passwordFile);
    }
  }

  /** Names of topics by stream. */
  public record TopicNames(
      String transactions,
      String enriched,
      String metrics,
      String fleet,
      String fleetRollups,
      String alerts,
      String lookups,
      String connections,
      String uses,
      String probes,
      String changes,
      String zones,
      String intel,
      String dlq,
      String streamLedger)
      implements Serializable {
    /** Names of the contract. */
    public static final TopicNames DEFAULT =
        new TopicNames(
            null, null, null, null, null, null, null, null, null, null, null, null, null, null,
            null);

    /** Fills in defaults. */
    public TopicNames {
      transactions = transactions == null ? "dns.normalized" : transactions;
      enriched = enriched == null ? "dns.enriched" : enriched;
      metrics = metrics == null ? "dns.metrics" : metrics;
      fleet = fleet == null ? "dns.fleet" : fleet;
      fleetRollups = fleetRollups == null ? "dns.fleet.rollups" : fleetRollups;
      alerts = alerts == null ? "dns.alerts" : alerts;
      lookups = lookups == null ? "dns.lookups" : lookups;
      connections = connections == null ? "dns.connections" : connections;
      uses = uses == null ? "dns.uses" : uses;
      probes = probes == null ? "dns.probes" : probes;
      changes = changes == null ? "dns.changes" : changes;
      zones = zones == null ? "dns.zones" : zones;
      intel = intel == null ? "dns.intel" : intel;
      dlq = dlq == null ? "dns.dlq" : dlq;
      streamLedger = streamLedger == null ? "dns.stream.ledger" : streamLedger;
    }

    private TopicNames withPrefix(String prefix) {
      return new TopicNames(
          prefix + transactions,
          prefix + enriched,
          prefix + metrics,
          prefix + fleet,
          prefix + fleetRollups,
          prefix + alerts,
          prefix + lookups,
          prefix + connections,
          prefix + uses,
          prefix + probes,
          prefix + changes,
          prefix + zones,
          prefix + intel,
          prefix + dlq,
          prefix + streamLedger);
    }

    /** Returns the names of all topics by stream. */
    public Map<String, String> byStream() {
      return Map.ofEntries(
          Map.entry("transactions", transactions),
          Map.entry("enriched", enriched),
          Map.entry("metrics", metrics),
          Map.entry("fleet", fleet),
          Map.entry("fleet_rollups", fleetRollups),
          Map.entry("alerts", alerts),
          Map.entry("lookups", lookups),
          Map.entry("connections", connections),
          Map.entry("uses", uses),
          Map.entry("probes", probes),
          Map.entry("changes", changes),
          Map.entry("zones", zones),
          Map.entry("intel", intel),
          Map.entry("dlq", dlq),
          Map.entry("stream_ledger", streamLedger));
    }
  }

  /**
   * Job {@code enrich}.
   *
   * @param group consumer group
   * @param deduplicate how long an {@code event_id} is remembered
   * @param sinks where its records go: {@code enriched} (the topic)
   * @param geo databases of places and networks
   * @param tables compacted topics that it reads: {@code zones}, {@code intel}
   * @param maxIndicators indicators that each task manager holds in memory at most
   */
  public record Enrich(
      String group,
      Duration deduplicate,
      List<String> sinks,
      Geo geo,
      List<String> tables,
      Integer maxIndicators)
      implements Serializable {
    private static final List<String> SINKS = List.of("enriched");
    private static final List<String> TABLES = List.of("zones", "intel");

    /** Fills in defaults and refuses unknown sinks. */
    public Enrich {
      group = group == null ? "dnscribe-enrich" : group;
      deduplicate = deduplicate == null ? Duration.ofHours(2) : deduplicate;
      sinks = sinks == null ? SINKS : List.copyOf(sinks);
      StoreConfig.checkSinks("enrich.sinks", sinks, SINKS);
      if (sinks.isEmpty()) {
        throw new ConfigException(
            "enrich.sinks: it writes nowhere; write enrich.sinks: %s, or submit no job enrich"
                .formatted(SINKS));
      }
      geo = geo == null ? new Geo(null, null) : geo;
      tables = tables == null ? TABLES : List.copyOf(tables);
      for (String table : tables) {
        if (!TABLES.contains(table)) {
          throw new ConfigException("enrich.tables: no table " + table + "; there are " + TABLES);
        }
      }
      maxIndicators = maxIndicators == null ? 2_000_000 : maxIndicators;
      if (maxIndicators < 1) {
        throw new ConfigException("enrich.max_indicators: at least 1");
      }
    }
  }

  /**
   * Databases in MaxMind's format, on every task manager; null for none.
   *
   * @param city a file with cities, or only countries
   * @param asn a file with autonomous systems
   */
  public record Geo(String city, String asn) implements Serializable {}

  /**
   * ClickHouse.
   *
   * @param url of its HTTP interface
   * @param database of the tables
   * @param user with the right to insert, or to create tables for {@code migrate}
   * @param passwordFile a file with its password
   * @param batchRows rows of one insert at most
   * @param batchBytes after which an insert takes no more rows
   * @param batchWait how long a row waits for others at most
   * @param retention how long transactions are kept
   * @param tableRetention how long rows of other tables are kept, by table
   * @param caFile certificates of authorities in PEM for a URL with https; null for Java's own
   */
  public record ClickHouse(
      String url,
      String database,
      String user,
      String passwordFile,
      Integer batchRows,
      Integer batchBytes,
      Duration batchWait,
      Duration retention,
      Map<String, Duration> tableRetention,
      String caFile)
      implements Serializable {
    /** Tables beside that of transactions whose rows expire, or may. */
    private static final List<String> TABLES =
        List.of(
            "dns_alerts",
            "dns_uses",
            "dns_lookups",
            "dns_connections",
            "dns_resolvers_1m",
            "dns_failing_zones_1m",
            "dns_traffic_1m",
            "dns_names_1h",
            "dns_clients_1h",
            "dns_nodes_1h");

    /** As in the migrations that create the tables. */
    private static final Map<String, Duration> RETENTION =
        Map.of(
            "dns_uses", Duration.ofDays(30),
            "dns_lookups", Duration.ofDays(7),
            "dns_connections", Duration.ofDays(30));

    /** ClickHouse's times end in 2106. */
    private static final Duration LONGEST_RETENTION = Duration.ofDays(18_250);

    /** Fills in defaults and refuses what cannot work. */
    public ClickHouse {
      url = url == null ? "http://localhost:8123" : url;
      database = database == null ? "dns" : database;
      user = user == null ? "default" : user;
      batchRows = batchRows == null ? 20_000 : batchRows;
      batchBytes = batchBytes == null ? 32 * 1024 * 1024 : batchBytes;
      batchWait = batchWait == null ? Duration.ofSeconds(1) : batchWait;
      retention = retention == null ? Duration.ofDays(7) : retention;
      if (batchRows < 1) {
        throw new ConfigException("clickhouse.batch_rows: at least 1");
      }
      if (batchBytes < 1) {
        throw new ConfigException("clickhouse.batch_bytes: at least 1");
      }
      tableRetention = tableRetention == null ? Map.of() : Map.copyOf(tableRetention);
      check("clickhouse.retention", retention);
      for (var table : tableRetention.entrySet()) {
        if (!TABLES.contains(table.getKey())) {
          throw new ConfigException(
              "clickhouse.table_retention: no table " + table.getKey() + "; there are " + TABLES);
        }
        check("clickhouse.table_retention." + table.getKey(), table.getValue());
      }
    }

    private static void check(String key, Duration retention) {
      if (retention.compareTo(LONGEST_RETENTION) > 0 || retention.toSeconds() < 1) {
        throw new ConfigException(key + ": 1s to " + LONGEST_RETENTION.toDays() + "d");
      }
    }

    /** Returns how long a table keeps the job's rows; null if it keeps them for ever. */
    public Duration retention(String table) {
      return table.equals("dns_transactions")
          ? retention
          : tableRetention.getOrDefault(table, RETENTION.get(table));
    }

    /** Reads the password; empty without a file. */
    public String password() throws IOException {
      return readPassword(passwordFile);
    }
  }

  /**
   * Flink's checkpoints; with each one records become visible in Kafka.
   *
   * @param interval time from one to the next
   * @param timeout after which the job restarts from the last one instead of waiting for the next
   */
  public record Checkpoints(Duration interval, Duration timeout) implements Serializable {
    /** Fills in defaults. */
    public Checkpoints {
      interval = interval == null ? Duration.ofSeconds(10) : interval;
      timeout = timeout == null ? Duration.ofMinutes(5) : timeout;
    }

    /**
     * Refuses a timeout with which a checkpoint could complete although the broker has aborted its
     * transactions. Those begin while the checkpoint before is still under way.
     */
    private void check(Duration transactionTimeout) {
      Duration longest = timeout.multipliedBy(2).plus(interval);
      if (longest.compareTo(transactionTimeout) >= 0) {
        throw new ConfigException(
            "checkpoints.timeout: twice its value and checkpoints.interval are %d ms, and must be"
                    .formatted(longest.toMillis())
                + " less than kafka.options.%s, which is %d"
                    .formatted(Kafka.TRANSACTION_TIMEOUT, transactionTimeout.toMillis()));
      }
    }
  }

  /** Reads a file and this process's environment. */
  public static Config load(Path file) {
    try {
      return parse(file.toString(), Files.readString(file), System.getenv());
    } catch (IOException error) {
      throw new ConfigException(file + ": cannot be read: " + error.getMessage());
    }
  }

  /** Reads the text of the file {@code name}, then the variables. */
  static Config parse(String name, String text, Map<String, String> environment) {
    // Errors of the file have line and column only in a pass of its own.
    Config config = read(name, () -> YAML.readValue(text, Config.class));
    for (var variable : environment.entrySet()) {
      String key = variable.getKey();
      if (key.startsWith(PREFIX) && !OF_SERVICE.matcher(key.substring(PREFIX.length())).matches()) {
        config = override(config, key, variable.getValue());
      }
    }
    return config;
  }

  private static Config override(Config config, String variable, String value) {
    ObjectNode tree = YAML.valueToTree(config);
    String path = variable.substring(PREFIX.length()).toLowerCase(Locale.ROOT);
    List<String> keys = List.of(path.split("__", -1));
    ObjectNode parent = tree;
    for (String key : keys.subList(0, keys.size() - 1)) {
      JsonNode child = parent.get(key);
      parent = child instanceof ObjectNode object ? object : parent.putObject(key);
    }
    String last = keys.get(keys.size() - 1);
    ObjectNode target = parent;
    return read(
        variable,
        () -> {
          target.set(last, YAML.readTree(value));
          return YAML.treeToValue(tree, Config.class);
        });
  }

  static String readPassword(String file) throws IOException {
    return file == null ? "" : Files.readString(Path.of(file)).strip();
  }

  private interface Reading {
    Config read() throws JacksonException;
  }

  private static Config read(String source, Reading reading) {
    try {
      return reading.read();
    } catch (JacksonException error) {
      if (error.getCause() instanceof ConfigException refusal) {
        throw new ConfigException(source + ": " + refusal.getMessage());
      }
      var location = error.getLocation();
      String place =
          location == null || location.getLineNr() < 1
              ? source
              : source + ":" + location.getLineNr() + ":" + location.getColumnNr();
      throw new ConfigException(place + ": " + describe(error));
    }
  }

  private static String describe(JacksonException error) {
    String message = error.getOriginalMessage();
    if (error instanceof com.fasterxml.jackson.databind.exc.UnrecognizedPropertyException unknown) {
      message = "unknown key " + unknown.getPropertyName();
    }
    if (error instanceof JsonMappingException mapping) {
      StringBuilder path = new StringBuilder();
      for (var step : mapping.getPath()) {
        path.append(path.isEmpty() ? "" : ".").append(step.getFieldName());
      }
      return path + ": " + message;
    }
    return message;
  }

  private static ObjectMapper mapper(YAMLFactory factory) {
    SimpleModule durations = new SimpleModule();
    durations.addDeserializer(Duration.class, new Durations.Reader());
    durations.addSerializer(Duration.class, new Durations.Writer());
    return JsonMapper.builder(factory)
        .propertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE)
        .enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
        // Of two sections with one name, the first would be without effect.
        .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
        .addModule(durations)
        .build();
  }
}
