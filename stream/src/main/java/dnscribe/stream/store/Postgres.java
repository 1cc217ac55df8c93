package dnscribe.stream.store;

import dnscribe.stream.config.Config;
import java.io.IOException;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.Properties;

/** Connections to PostgreSQL with TimescaleDB. */
final class Postgres {
  private Postgres() {}

  /** Connects, with time limits so that a server that is away does not hold a job up for long. */
  static Connection connect(Config.TimescaleDb config) throws IOException, SQLException {
    Properties properties = new Properties();
    if (config.user() != null) {
      properties.setProperty("user", config.user());
    }
    String password = config.password();
    if (!password.isEmpty()) {
      properties.setProperty("password", password);
    }
    properties.setProperty("connectTimeout", "5");
    properties.setProperty("socketTimeout", "30");
    properties.setProperty("ApplicationName", "dnscribe-stream");
    // Names the driver: Flink's class loaders hide it from the list of those that are known.
    return new org.postgresql.Driver().connect(config.url(), properties);
  }
}
