package dnscribe.stream.config;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dnscribe.stream.detect.Rule;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ConfigTest {
  @Test
  void environmentGoesBeforeFileBeforeDefaults() {
    String file = "version: 1\nkafka: { brokers: \"a:1\" }\nclickhouse: { retention: 18250d }\n";
    Config config =
        Config.parse(
            "x.yaml",
            file,
            Map.of(
                "DNSCRIBE_STREAM_KAFKA__BROKERS", "b:2",
                "DNSCRIBE_STREAM_STORE__STORES", "[clickhouse]",
                "DNSCRIBE_BROKERS", "c:3"));
    assertThat(config.kafka().brokers()).isEqualTo("b:2");
    assertThat(config.kafka().topics().enriched()).isEqualTo("dns.enriched");
    assertThat(config.store().stores()).containsExactly("clickhouse");
    assertThat(config.clickhouse().retention()).isEqualTo(Duration.ofDays(18_250));
    assertThat(config.checkpoints().interval()).isEqualTo(Duration.ofSeconds(10));
    // A topic that two jobs read has as many unique records for both.
    assertThat(
            List.of(
                config.enrich().deduplicate(),
                config.fleet().deduplicate(),
                config.store().deduplicate()))
        .containsOnly(Duration.ofHours(2));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "kafka: { broker: a }|x.yaml:2:21: kafka.broker: unknown key broker",
        "enrich: { sinks: [disk] }|x.yaml: enrich.sinks: no sink disk; there are [enriched]",
        "enrich: { sinks: [clickhouse] }|x.yaml: enrich.sinks: no sink clickhouse; there are [enriched]; the job store writes clickhouse: write enrich.sinks: [enriched], and submit store --only clickhouse",
        "enrich: { sinks: [] }|x.yaml: enrich.sinks: it writes nowhere; write enrich.sinks: [enriched],",
        "kafka: { brokers: a, brokers: b }|x.yaml:2:29: kafka: Duplicate field 'brokers'",
        "fleet: { sinks: [fleet, timescaledb, influxdb] }|x.yaml: fleet.sinks: no sink timescaledb; there are [fleet, rollups]; the job store writes timescaledb: write fleet.sinks: [fleet, rollups], and submit store --only timescaledb",
        "store: { stores: [disk] }|x.yaml: store.stores: no store disk",
        "checkpoints: { interval: 10 }|x.yaml:2:26: checkpoints.interval: ",
        "clickhouse: { retention: 99999d }|x.yaml: clickhouse.retention: 1s to 18250d",
        "clickhouse: { table_retention: { dns_top: 3d } }|x.yaml: clickhouse.table_retention: no table dns_top; there are [dns_alerts,",
        "clickhouse: { table_retention: { dns_uses: 0s } }|x.yaml: clickhouse.table_retention.dns_uses: 1s to",
        "kafka: { partitions: { messages: 3 } }|x.yaml: kafka.partitions: no stream messages; there are [alerts,",
        "kafka: { partitions: { fleet: 0 } }|x.yaml: kafka.partitions.fleet: 1 to 10000",
        "kafka: { retention: { fleet: 3 } }|x.yaml:2:30: kafka.retention.fleet: ",
        "kafka: { options: { transaction.timeout.ms: 5m } }|x.yaml: kafka.options.transaction.",
      })
  void refusalsHaveTheirPlace(String line, String message) {
    assertThatThrownBy(() -> Config.parse("x.yaml", "version: 1\n" + line, Map.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith(message);
  }

  @Test
  void checkpointsEndBeforeTransactionsExpire() {
    String file = "version: 1\nkafka: { options: { transaction.timeout.ms: 60000 } }\n";
    assertThatThrownBy(() -> Config.parse("x.yaml", file, Map.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("checkpoints.timeout")
        .hasMessageContaining("610000 ms")
        .hasMessageContaining("kafka.options.transaction.timeout.ms, which is 60000");
    String shorter = file + "checkpoints: { interval: 10s, timeout: 24s }";
    assertThat(Config.parse("x.yaml", shorter, Map.of()).checkpoints().timeout())
        .isEqualTo(Duration.ofSeconds(24));
    String equal = file + "checkpoints: { interval: 10s, timeout: 25s }";
    assertThatThrownBy(() -> Config.parse("x.yaml", equal, Map.of()))
        .isInstanceOf(ConfigException.class);
  }

  @Test
  void refusesUnknownVariables() {
    assertThatThrownBy(
            () -> Config.parse("x.yaml", "version: 1", Map.of("DNSCRIBE_STREAM_KAFKA__X", "1")))
        .hasMessageContaining("DNSCRIBE_STREAM_KAFKA__X")
        .hasMessageContaining("kafka.x: unknown key x");
  }

  @Test
  void variablesOfKubernetesAreNoSettings() {
    Map<String, String> environment =
        Map.of(
            "DNSCRIBE_STREAM_SERVICE_HOST", "10.0.0.1",
            "DNSCRIBE_STREAM_REST_SERVICE_PORT_HTTP", "8081",
            "DNSCRIBE_STREAM_PORT", "tcp://10.0.0.1:8081",
            "DNSCRIBE_STREAM_REST_PORT_8081_TCP_ADDR", "10.0.0.1");
    assertThat(Config.parse("x.yaml", "version: 1", environment))
        .isEqualTo(Config.parse("x.yaml", "version: 1", Map.of()));
  }

  @Test
  void rulesHaveTheirDefaultsAndSettings() {
    String text = "version: 1\ndetect: {rules: {zone_query_rate: {critical: 10, clear_for: 5m}}}";
    Map<String, String> environment =
        Map.of("DNSCRIBE_STREAM_DETECT__RULES__ZONE_NXDOMAIN__WARNING", "0.3");
    Detect detect = Config.parse("x.yaml", text, environment).detect();
    RuleSettings rate = detect.rule(Rule.ZONE_QUERY_RATE);
    assertThat(rate.critical()).isEqualTo(10);
    assertThat(rate.clearFor()).isEqualTo(Duration.ofMinutes(5));
    assertThat(rate.warning()).isEqualTo(Rule.ZONE_QUERY_RATE.defaults().warning());
    assertThat(detect.rule(Rule.ZONE_NXDOMAIN).warning()).isEqualTo(0.3);
    for (String rules :
        new String[] {"tunnel: {}", "zone_hijack: {warning: 3}", "zone_nxdomain: {warning: -1}"}) {
      assertThatThrownBy(
              () ->
                  Config.parse("x.yaml", "version: 1\ndetect: {rules: {" + rules + "}}", Map.of()))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("detect.rules");
    }
  }

  @Test
  void prefixIsBeforeEveryTopic() {
    String file =
        "version: 1\nkafka: { topic_prefix: sandbox., topics: { metrics: dns.metrics.eu } }\n";
    Config.TopicNames topics = Config.parse("x.yaml", file, Map.of()).kafka().topics();
    assertThat(topics.metrics()).isEqualTo("sandbox.dns.metrics.eu");
    assertThat(topics.streamLedger()).isEqualTo("sandbox.dns.stream.ledger");
    assertThat(topics.byStream().values())
        .hasSize(15)
        .allMatch(name -> name.startsWith("sandbox.dns."));
  }

  @Test
  void twoJobsBesideEachOtherHaveTransactionsOfTheirOwn() {
    assertThat(Config.parse("x.yaml", "version: 1", Map.of()).kafka().transactionPrefix())
        .isEqualTo("dnscribe-");
    String file = "version: 1\nkafka: { transaction_prefix: dnscribe-blue- }\n";
    assertThat(Config.parse("x.yaml", file, Map.of()).kafka().transactionPrefix())
        .isEqualTo("dnscribe-blue-");
    assertThatThrownBy(
            () -> Config.parse("x.yaml", "version: 1\nkafka: { transaction_prefix: '' }", Map.of()))
        .hasMessageContaining("kafka.transaction_prefix");
  }

  @Test
  void refusesOtherVersions() {
    assertThatThrownBy(() -> Config.parse("x.yaml", "version: 2", Map.of()))
        .hasMessageContaining("version");
  }

  @Test
  void argumentsAreChecked() {
    String backfill = "store --only timescaledb --config a.yaml --to 2026-01-01T00:00:00Z";
    assertThat(Arguments.parse(words(backfill), "usage")).matches(Arguments::isBounded);
    String replay = "store --only influxdb --config a.yaml --from 2026-01-01T00:00:00Z";
    assertThat(Arguments.parse(words(replay), "usage").beginMs()).isEqualTo(1_767_225_600_000L);
    String all = "store --only influxdb --config a.yaml --from EARLIEST";
    assertThat(Arguments.parse(words(all), "usage").beginMs()).isNegative();
    for (String line :
        new String[] {
          "",
          "x",
          "enrich",
          "enrich --config",
          "enrich --config a --from monday",
          "store --config a",
          "enrich --config a --only influxdb",
          "enrich --config a --to 2026-01-01T00:00:00Z",
          backfill + " --from 2026-01-01T00:00:00Z",
          backfill + " --from 2026-01-02T00:00:00Z",
          backfill + " --from LATEST",
        }) {
      assertThatThrownBy(() -> Arguments.parse(words(line), "usage"))
          .isInstanceOf(ConfigException.class);
    }
  }

  private static String[] words(String line) {
    return line.split(" ", -1);
  }
}
