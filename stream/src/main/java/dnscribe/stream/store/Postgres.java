package dnscribe.stream.store;

import dnscribe.stream.config.TimescaleDbConfig;
import java.io.IOException;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.Properties;

/** Connections to PostgreSQL with TimescaleDB. */
final class Postgres {
  private Postgres() {}

  /** Connects, with time limits so that a server that is away does not hold a job up for long. */
  static Connection connect(TimescaleDbConfig config) throws IOException, SQLException {
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
    unregister();
    return new org.postgresql.Driver().connect(config.url(), properties);
  }

  /**
   * Takes the driver from the JVM's list, from which Flink's class loaders hide it, and which would
   * keep all classes of a job that has ended.
   */
  private static synchronized void unregister() throws SQLException {
    if (org.postgresql.Driver.isRegistered()) {
      org.postgresql.Driver.deregister();
    }
  }
}
