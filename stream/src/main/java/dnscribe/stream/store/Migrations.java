package dnscribe.stream.store;

import dnscribe.stream.config.Config;
import dnscribe.stream.config.StoreConfig;
import dnscribe.stream.config.TimescaleDbConfig;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.NoSuchFileException;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Brings the tables of the stores up to date: the numbered files of {@code stores/}. */
public final class Migrations {
  private static final List<String> CLICKHOUSE =
      List.of(
          "001_transactions",
          "002_enriched",
          "003_omitted",
          "004_durability",
          "005_alerts",
          "006_traffic",
          "007_uses",
          "008_zones",
          "009_exchanges",
          "010_lookups",
          "011_connections",
          "012_connection_ends",
          "013_use_times",
          "014_bins");
  private static final List<String> TIMESCALEDB =
      List.of(
          "001_stream_ledger",
          "002_fleet",
          "003_retention",
          "004_incidents",
          "005_ledger_put",
          "006_final");

  private static final String NAMES = "SELECT name FROM dns_migrations";

  /** Names of PostgreSQL's tables and views where migrations create them. */
  private static final String TABLES =
      "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
          + " AND relkind IN ('r', 'v', 'p')";

  private static final Pattern CREATE =
      Pattern.compile(
          "^CREATE (?:OR REPLACE )?(?:MATERIALIZED )?(?:TABLE|VIEW) (?:IF NOT EXISTS )?(\\w+)",
          Pattern.MULTILINE);

  private static final Pattern ALTER = Pattern.compile("ALTER TABLE (\\w+)");

  private Migrations() {}

  /**
   * Applies the migrations that a store does not have yet.
   *
   * @throws IOException if a store cannot be reached or refuses one; the message names the key
   */
  public static void apply(Config config) throws IOException, InterruptedException {
    List<String> stores = config.store().stores();
    if (stores.contains(StoreConfig.CLICKHOUSE)) {
      String url = config.clickhouse().url();
      try {
        clickhouse(config.clickhouse());
      } catch (IOException | IllegalArgumentException error) {
        throw failure("clickhouse", url, error);
      }
    }
    if (stores.contains(StoreConfig.TIMESCALEDB)) {
      String url = config.timescaledb().url();
      try {
        timescaledb(config.timescaledb());
      } catch (IOException | SQLException error) {
        throw failure("timescaledb", url, error);
      }
    }
  }

  private static IOException failure(String store, String url, Exception error) {
    if (error instanceof NoSuchFileException) {
      return new IOException(store + ": no file " + error.getMessage(), error);
    }
    // A refused connection has no message.
    String reason = error.getMessage() == null ? error.toString() : error.getMessage();
    return new IOException(
        "%s.url: %s: %s; leave %s out of store.stores if there is none"
            .formatted(store, url, reason, store),
        error);
  }

  private static void timescaledb(TimescaleDbConfig config) throws IOException, SQLException {
    try (Connection connection = Postgres.connect(config);
        Statement statement = connection.createStatement()) {
      statement.execute(
          "CREATE TABLE IF NOT EXISTS dns_migrations"
              + " (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())");
      Set<String> applied = new HashSet<>();
      try (ResultSet names = statement.executeQuery(NAMES)) {
        while (names.next()) {
          applied.add(names.getString(1));
        }
      }
      connection.setAutoCommit(false);
      for (String name : TIMESCALEDB) {
        if (applied.contains(name)) {
          continue;
        }
        statement.execute(resource("/stores/timescaledb/" + name + ".sql"));
        statement.execute("INSERT INTO dns_migrations (name) VALUES ('" + name + "')");
        connection.commit();
        System.out.println("timescaledb: applied " + name);
      }
      List<String> tables = new ArrayList<>();
      try (ResultSet names = statement.executeQuery(TABLES)) {
        while (names.next()) {
          tables.add(names.getString(1));
        }
      }
      warnOfMissing("timescaledb", TIMESCALEDB, tables);
    }
  }

  private static void clickhouse(Config.ClickHouse config)
      throws IOException, InterruptedException {
    ClickHouse server = new ClickHouse(config);
    server.createDatabase();
    server.query(
        "CREATE TABLE IF NOT EXISTS dns_migrations (name String, applied_at DateTime DEFAULT now())"
            + " ENGINE = MergeTree ORDER BY name");
    Set<String> applied = Set.copyOf(server.query(NAMES).lines().toList());
    for (String name : CLICKHOUSE) {
      if (applied.contains(name)) {
        continue;
      }
      String script = resource("/stores/clickhouse/" + name + ".sql");
      for (String statement : statements(script)) {
        if (!altersWhatWasDropped(server, statement)) {
          server.query(statement);
        }
      }
      server.query("INSERT INTO dns_migrations (name) VALUES ('" + name + "')");
      System.out.println("clickhouse: applied " + name);
    }
    warnOfMissing("clickhouse", CLICKHOUSE, server.query("SHOW TABLES").lines().toList());
    setRetention(server, ClickHouse.TRANSACTIONS, config.retention());
    for (var table : config.tableRetention().entrySet()) {
      setRetention(server, table.getKey(), table.getValue());
    }
  }

  /** Views and tables that nobody needs may be dropped by hand. */
  private static boolean altersWhatWasDropped(ClickHouse server, String statement)
      throws IOException, InterruptedException {
    Matcher altered = ALTER.matcher(statement);
    return altered.lookingAt()
        && server.query("EXISTS TABLE " + altered.group(1)).strip().equals("0");
  }

  /** Says what was dropped by hand, and how it comes back. */
  private static void warnOfMissing(String store, List<String> migrations, List<String> existing)
      throws IOException {
    for (String name : migrations) {
      for (String table : created(resource("/stores/" + store + "/" + name + ".sql"))) {
        if (!existing.contains(table)) {
          System.out.println(
              store
                  + ": no "
                  + table
                  + ", which was dropped after "
                  + name
                  + "; to create it again, run DELETE FROM dns_migrations WHERE name >= '"
                  + name
                  + "' there, and migrate");
        }
      }
    }
  }

  /** Returns the tables and views that a script creates. */
  static List<String> created(String script) {
    return CREATE.matcher(script).results().map(found -> found.group(1)).toList();
  }

  private static void setRetention(ClickHouse server, String table, Duration retention)
      throws IOException, InterruptedException {
    String time = table.endsWith("_1m") ? "minute" : table.endsWith("_1h") ? "hour" : "ts";
    String begin =
        time.equals("ts")
            ? "toDateTime(least(ts, toDateTime64('2050-01-01 00:00:00', 9, 'UTC')))"
            : time;
    server.query(
        "ALTER TABLE %s MODIFY TTL %s + INTERVAL %d SECOND DELETE"
            .formatted(table, begin, retention.toSeconds()));
  }

  /**
   * Refuses a server whose tables are older than this program. Tables without the list that {@link
   * #apply} keeps are made by hand, and not checked.
   */
  static void check(ClickHouse server) throws IOException, InterruptedException {
    if (server.query("EXISTS TABLE dns_migrations").strip().equals("1")) {
      check(CLICKHOUSE, server.query(NAMES).lines().toList());
    }
  }

  /** As {@link #check(ClickHouse)}, of TimescaleDB. */
  static void check(Connection connection) throws IOException, SQLException {
    try (Statement statement = connection.createStatement()) {
      try (ResultSet table = statement.executeQuery("SELECT to_regclass('dns_migrations')")) {
        if (!table.next() || table.getString(1) == null) {
          return;
        }
      }
      try (ResultSet names = statement.executeQuery(NAMES)) {
        List<String> applied = new ArrayList<>();
        while (names.next()) {
          applied.add(names.getString(1));
        }
        check(TIMESCALEDB, applied);
      }
    }
  }

  private static void check(List<String> wanted, List<String> applied) throws IOException {
    List<String> missing = wanted.stream().filter(name -> !applied.contains(name)).toList();
    if (!missing.isEmpty()) {
      throw new IOException("the tables lack the migrations " + missing + ": run migrate");
    }
  }

  /** Statements of a script: a semicolon ends one at the end of a line. */
  static List<String> statements(String script) {
    StringBuilder code = new StringBuilder();
    for (String line : script.lines().toList()) {
      if (!line.startsWith("--")) {
        code.append(line).append('\n');
      }
    }
    return List.of(code.toString().split(";\n", -1)).stream()
        .map(String::strip)
        .filter(statement -> !statement.isEmpty())
        .toList();
  }

  private static String resource(String name) throws IOException {
    try (InputStream stream = Migrations.class.getResourceAsStream(name)) {
      if (stream == null) {
        throw new IOException("this jar has no " + name);
      }
      return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
    }
  }
}
