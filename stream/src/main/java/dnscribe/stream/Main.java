package dnscribe.stream;

import dnscribe.stream.config.Arguments;
import dnscribe.stream.config.Config;
import dnscribe.stream.config.ConfigException;
import dnscribe.stream.enrich.EnrichJob;
import dnscribe.stream.fleet.FleetJob;
import dnscribe.stream.kafka.CopyJob;
import dnscribe.stream.kafka.TopicCreation;
import dnscribe.stream.store.Migrations;
import dnscribe.stream.store.StoreJob;
import java.io.IOException;
import java.util.Set;

/** Entry point of the jar: submits a job to Flink, or prepares topics and stores. */
public final class Main {
  private static final String USAGE =
      """
      usage: dnscribe-stream.jar COMMAND --config FILE
        enrich [--from EARLIEST|LATEST|TIMESTAMP]
                  the job dns.normalized -> dns.enriched; on a Flink cluster
        fleet [--from ...]
                  the job dns.metrics -> dns.fleet and dns.alerts; on a Flink cluster
        store --only clickhouse|timescaledb|influxdb|archive [--from ...]
                  the job topics -> one store; on a Flink cluster
        store --only clickhouse|timescaledb --from TIMESTAMP --to TIMESTAMP
                  a span of the topics -> one store, beside its job
        migrate   create or update the tables of the stores
        topics    create the Kafka topics that are missing
      """;

  private static final Set<String> JOBS = Set.of("enrich", "fleet", "store");

  private Main() {}

  /** Runs a command. */
  public static void main(String[] words) throws Exception {
    Arguments arguments;
    Config config;
    try {
      arguments = Arguments.parse(words, USAGE);
      config = Config.load(arguments.config());
    } catch (ConfigException error) {
      // In a Flink cluster this process is the cluster's: only the error may end it.
      if (words.length > 0 && JOBS.contains(words[0])) {
        throw error;
      }
      System.err.println(error.getMessage());
      System.exit(2);
      return;
    }
    switch (arguments.command()) {
      case "enrich" -> EnrichJob.submit(config, arguments);
      // Not for users: the floor of the benchmark.
      case "copy" -> CopyJob.submit(config, arguments);
      case "fleet" -> FleetJob.submit(config, arguments);
      case "store" -> StoreJob.submit(config, arguments);
      case "migrate" -> prepare(() -> Migrations.apply(config));
      case "topics" -> prepare(() -> TopicCreation.create(config));
      default -> throw new IllegalStateException(arguments.command());
    }
  }

  private interface Preparation {
    void run() throws Exception;
  }

  /** Runs what needs no cluster, and ends this process with a sentence if it fails. */
  private static void prepare(Preparation preparation) throws Exception {
    try {
      preparation.run();
    } catch (IOException | ConfigException error) {
      System.err.println(error.getMessage());
      System.exit(1);
    }
  }
}
