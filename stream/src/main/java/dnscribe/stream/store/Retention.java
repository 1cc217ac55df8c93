package dnscribe.stream.store;

import dnscribe.stream.config.TimescaleDbConfig;
import java.io.IOException;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Map;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Drops the chunks of TimescaleDB's tables that are older than the configuration says. */
public final class Retention {
  private static final Logger LOG = LoggerFactory.getLogger(Retention.class);

  private Retention() {}

  /** Drops what is too old now. Without the server, the next call does it. */
  public static void apply(TimescaleDbConfig config) {
    try (Connection connection = Postgres.connect(config)) {
      for (Map.Entry<String, Duration> table : config.retention().entrySet()) {
        String seconds = table.getValue().toSeconds() + " seconds";
        Integer step = TimescaleDbConfig.STEPS.get(table.getKey());
        String sql =
            step == null
                ? "SELECT dns_drop_chunks(?, ?::interval)"
                : "SELECT dns_fleet_expire(?::integer, ?::interval)";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
          statement.setString(1, step == null ? table.getKey() : step.toString());
          statement.setString(2, seconds);
          statement.execute();
        }
      }
    } catch (IOException | SQLException error) {
      LOG.warn("timescaledb: old chunks stay for now: {}", error.toString());
    }
  }
}
