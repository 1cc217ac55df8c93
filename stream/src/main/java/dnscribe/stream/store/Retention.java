package dnscribe.stream.store;

import dnscribe.stream.config.TimescaleDbConfig;
import java.io.IOException;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Drops the chunks of TimescaleDB's tables that are older than the configuration says. */
public final class Retention {
  private static final Logger LOG = LoggerFactory.getLogger(Retention.class);

  private Retention() {}

  /** Drops what is too old now. Without the server, the next call does it. */
  public static void apply(TimescaleDbConfig config) {
    config.retention().forEach((table, kept) -> apply(config, table, kept));
  }

  /** Drops what is too old of a table: one that is locked keeps no other from it. */
  private static void apply(TimescaleDbConfig config, String table, Duration kept) {
    Integer step = TimescaleDbConfig.STEPS.get(table);
    String sql =
        step == null
            ? "SELECT dns_drop_chunks(?, ?::interval)"
            : "SELECT dns_fleet_expire(?::integer, ?::interval)";
    try (Connection connection = Postgres.connect(config);
        PreparedStatement statement = connection.prepareStatement(sql)) {
      statement.setString(1, step == null ? table : step.toString());
      statement.setString(2, kept.toSeconds() + " seconds");
      statement.execute();
    } catch (IOException | SQLException error) {
      LOG.warn("timescaledb: old chunks of {} stay for now: {}", table, error.toString());
    }
  }
}
