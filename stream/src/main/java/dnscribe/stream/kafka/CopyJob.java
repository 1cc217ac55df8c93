package dnscribe.stream.kafka;

import dnscribe.stream.config.Arguments;
import dnscribe.stream.config.Config;
import dnscribe.stream.job.JobBuilder;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;

/**
 * Copies dns.normalized to dns.enriched, record by record and exactly once. It does nothing else:
 * `cargo xtask bench stream` compares the job enrich with it.
 */
public final class CopyJob {
  private CopyJob() {}

  /** Submits the job to the cluster in whose context this runs. */
  public static void submit(Config config, Arguments arguments) throws Exception {
    JobBuilder job = new JobBuilder("copy", config, arguments);
    job.reuseObjects();
    Config.TopicNames topics = config.kafka().topics();
    byte[] none = {};
    job.toTopic(
        job.source(
                topics.transactions(),
                config.enrich().group(),
                "transactions",
                WatermarkStrategy.noWatermarks())
            .map(record -> new OutputRecord("", none, 0, 0, record.key(), record.value()))
            .returns(JobBuilder.OUTPUT)
            .uid("copy"),
        topics.enriched());
    job.executeWithoutLedger();
  }
}
