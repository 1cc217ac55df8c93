package dnscribe.stream.detect;

import static org.assertj.core.api.Assertions.assertThat;

import dnscribe.stream.Records;
import dnscribe.stream.config.Config;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;

class EnrichedReaderTest {
  @Test
  void addsEqualCellsUpAndCountsWhatItCannotRead() throws Exception {
    try (var harness = new OneInputStreamOperatorTestHarness<>(new EnrichedReader(config()))) {
      harness.open();
      for (int number = 0; number < 100; number++) {
        harness.processElement(new StreamRecord<>(record(number, Records.transaction(number))));
      }
      harness.processElement(new StreamRecord<>(record(100, Records.bytes("{\"ts\":\"never\"}"))));
      assertThat(harness.extractOutputValues()).isEmpty();
      harness.prepareSnapshotPreBarrier(1);
      assertThat(harness.extractOutputValues())
          .singleElement()
          .satisfies(
              cell -> {
                assertThat(cell.entity()).isEqualTo("example.com\twww.example.com\tA");
                assertThat(cell.name()).isEqualTo("n1\t198.51.100.0/24\t");
                assertThat(cell.values()).containsExactly(100, 60);
              });
      assertThat(harness.getSideOutput(RecordReader.DEAD_LETTERS)).hasSize(1);
      Map<String, Long> counts =
          harness.getSideOutput(CountingOperator.COUNTS).peek().getValue().values();
      assertThat(counts)
          .containsEntry("input/dns.enriched/records", 101L)
          .containsEntry("input/dns.enriched/unique", 100L)
          .containsEntry("input/dns.enriched/malformed", 1L);
    }
  }

  @Test
  void cellsAreOnePerName() throws Exception {
    EnrichedRecord record = new EnrichedRecord();
    EnrichedCells cells = new EnrichedCells(Detection.defaults());
    long[] made = new long[1];
    CellSums sums = new CellSums(Detection.defaults(), cell -> made[0]++);
    for (int number = 0; number < 5_000; number++) {
      String name = "host" + number % 2_000 + ".example.com";
      record.read(
          Records.bytes(
              Records.text(Records.transaction(number)).replace("www.example.com", name)));
      cells.of(record, sums::add);
    }
    sums.flush(Long.MAX_VALUE);
    assertThat(made[0]).isEqualTo(2_000);
  }

  @Test
  void readsEveryFieldThatDetectorsUse() throws Exception {
    EnrichedRecord record = new EnrichedRecord();
    record.read(
        Records.bytes(
            """
            {"ts":"2026-01-05T10:20:30.123456789Z","node":"n1","region":"eu","vantage":"server",\
            "client_ip":"2001:db8:1:2::7","resolver":"r","qname":"www.example.com","qtype":"AAAA",\
            "zone":"example.com","status":"answered","rcode":"NOERROR","flags":["rd","ad"],\
            "answers":[{"name":"www.example.com","type":"CNAME","ttl":5,"data":"a.example.net"},\
            {"name":"a.example.net","type":"AAAA","ttl":300,"data":"2001:db8:5::1"}],\
            "edns":{"udp_size":1232,"do":true,"ede":{"code":3}},\
            "client_geo":{"country":"DE","asn":64496,"as_org":"Example"},\
            "answers_geo":[{"asn":64497}],"labels":{"environment":"prod"}}\
            """));
    assertThat(java.time.Instant.ofEpochMilli(record.time)).hasToString("2026-01-05T10:20:30.123Z");
    assertThat(record.site()).isEqualTo("eu");
    assertThat(record.validated && record.dnssecOk).isTrue();
    assertThat(record.addresses).containsExactly("2001:db8:5::1");
    assertThat(record.networks).containsExactly("64497");
    assertThat(record.ttl).isEqualTo(300);
    assertThat(record.country + record.asn).isEqualTo("DE64496");
    assertThat(Networks.of("2001:db8:5::1")).isEqualTo("2001:db8:5::/48");
    assertThat(Networks.of("example.com")).isNull();
    assertThat(Networks.client("10.1.2.3", false)).isNull();
    assertThat(Networks.client("10.1.2.3", true)).isEqualTo("10.1.2.0/24");
    assertThat(Networks.client("100.64.0.1", false)).isNull();
    assertThat(Networks.client("fd00::1", false)).isNull();
    // An agent's masks.
    assertThat(Networks.client("100::5471:d1d7:9b3d:3f7", true)).isNull();
    assertThat(Networks.client("::", true)).isNull();
    assertThat(Networks.of("100::1")).isNull();
    assertThat(Networks.client("100:0:0:1::1", false)).isEqualTo("100:0:0::/48");
  }

  @Test
  void answersThatAreMaskedAreNotMissing() throws Exception {
    EnrichedRecord record = new EnrichedRecord();
    EnrichedCells cells = new EnrichedCells(Detection.defaults());
    String text = Records.text(Records.transaction(1)).replaceAll("\"answers\":\\[.*?],", "");
    List<Cell> found = new ArrayList<>();
    record.read(Records.bytes(text));
    cells.of(record, found::add);
    assertThat(found).hasSize(1);
    record.read(Records.bytes(text.replaceFirst("}$", ",\"masking\":{\"answers\":\"drop\"}}")));
    cells.of(record, found::add);
    assertThat(found).hasSize(1);
  }

  private static KafkaRecord record(int offset, byte[] value) {
    return new KafkaRecord("dns.enriched", 0, offset, 1_767_322_000_000L, new byte[0], value);
  }

  private static Config config() {
    return new Config(1, null, null, null, null, null, null, null, null, null, null, null);
  }
}
