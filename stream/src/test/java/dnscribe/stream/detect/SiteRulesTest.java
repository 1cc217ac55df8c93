package dnscribe.stream.detect;

import static dnscribe.stream.detect.Detection.BASE;
import static dnscribe.stream.detect.Detection.HOUR;
import static dnscribe.stream.detect.Detection.MINUTE;
import static dnscribe.stream.detect.Detection.fields;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.Records;
import dnscribe.stream.config.Config;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.util.List;
import java.util.function.BiFunction;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;

class SiteRulesTest {
  private static final List<String> SITES = List.of("ams", "fra", "lab");

  /** Measures each minute from {@code start} to {@code end} at all sites. */
  private static void play(
      Detection detection, long start, long end, BiFunction<Long, String, ObjectNode> see)
      throws Exception {
    for (long time = start; time < end; time += MINUTE) {
      for (String site : SITES) {
        detection.probe(time, site, see.apply(time, site));
      }
      detection.advance(time);
    }
  }

  private static ObjectNode failed() {
    ObjectNode fields = fields().put("ok", false);
    fields.putObject("error").put("stage", "connect").put("reason", "timeout");
    return fields;
  }

  private static ObjectNode answer(String address, long ttl) {
    ObjectNode fields = fields().put("kind", "dns").put("target", "shop.example.com A");
    fields.put("answer_digest", address.hashCode() + "").put("min_ttl_seconds", ttl);
    fields.putArray("answers").add(address);
    return fields;
  }

  @Test
  void oneAlertSaysWhichSitesSeeWhat() throws Exception {
    try (var detection = new Detection(Detection.defaults())) {
      play(detection, BASE, BASE + 20 * MINUTE, (time, site) -> fields());
      assertThat(detection.alerts).isEmpty();
      detection.probeAlert(
          BASE + 21 * MINUTE, fields().put("rule", "verdict_path").putNull("zone"));
      long fault = BASE + 20 * MINUTE;
      play(
          detection,
          fault,
          fault + 30 * MINUTE,
          (time, site) -> site.equals("ams") ? failed() : fields());
      assertThat(detection.texts())
          .containsExactly("site_disagreement service=shop warning firing");
      JsonNode alert = detection.firsts().get(0);
      assertThat(alert.path("summary").asText())
          .isEqualTo(
              "Sites disagree about service shop: tcp 192.0.2.10:443 fails at ams (connect"
                  + " timeout) and works at fra, lab.");
      assertThat(alert.path("sites")).extracting(JsonNode::asText).containsExactly("ams");
      // Two spans of five minutes.
      assertThat(alert.path("ts").asText()).isEqualTo("2026-01-05T00:30:00Z");
      JsonNode last = detection.alerts.get(detection.alerts.size() - 1);
      assertThat(last.path("probes"))
          .extracting(one -> one.path("rule").asText())
          .containsExactly("verdict_path");
      play(detection, fault + 30 * MINUTE, fault + 60 * MINUTE, (time, site) -> fields());
      assertThat(detection.texts()).contains("site_disagreement service=shop warning resolved");
      assertThat(detection.firsts()).hasSize(1);
    }
  }

  @Test
  void whatAllSitesSeeIsNoDisagreement() throws Exception {
    try (var detection = new Detection(Detection.defaults())) {
      // Everywhere away, then lost packets at one site, then one site without a probe.
      play(detection, BASE, BASE + 30 * MINUTE, (time, site) -> failed());
      play(
          detection,
          BASE + 30 * MINUTE,
          BASE + HOUR,
          (time, site) -> site.equals("ams") && time / MINUTE % 3 == 0 ? failed() : fields());
      for (long time = BASE + HOUR; time < BASE + 2 * HOUR; time += MINUTE) {
        detection.probe(time, "ams", failed());
        detection.advance(time);
      }
      // What an alert asked for is another time's.
      for (long time = BASE + 2 * HOUR; time < BASE + 3 * HOUR; time += MINUTE) {
        detection.probe(time, "ams", failed().put("triggered_by", "00"));
        detection.probe(time, "fra", fields());
        detection.advance(time);
      }
      assertThat(detection.alerts).isEmpty();
    }
  }

  @Test
  void answersThatWereAlikeDifferOnceCachesHaveForgotten() throws Exception {
    try (var detection = new Detection(Detection.defaults())) {
      // Caches count down.
      play(
          detection,
          BASE,
          BASE + 7 * HOUR,
          (time, site) -> answer("192.0.2.10", 1800 - time / 1000 % 1800));
      long change = BASE + 7 * HOUR;
      play(
          detection,
          change,
          change + HOUR,
          (time, site) -> answer(site.equals("lab") ? "192.0.2.10" : "192.0.2.20", 1800));
      assertThat(detection.texts())
          .containsExactly("site_disagreement service=shop warning firing");
      JsonNode alert = detection.firsts().get(0);
      assertThat(alert.path("summary").asText())
          .isEqualTo(
              "Sites disagree about service shop: dns shop.example.com A is 192.0.2.10 at lab,"
                  + " 192.0.2.20 at ams, fra.");
      assertThat(alert.path("qnames").get(0).asText()).isEqualTo("shop.example.com");
      assertThat(alert.path("ts").asText()).isGreaterThanOrEqualTo("2026-01-05T07:35:00Z");
    }
  }

  @Test
  void answersThatAlwaysDifferAreThoseOfCdns() throws Exception {
    try (var detection = new Detection(Detection.defaults())) {
      play(
          detection,
          BASE,
          BASE + 12 * HOUR,
          (time, site) -> answer("192.0.2." + SITES.indexOf(site), 60));
      assertThat(detection.alerts).isEmpty();
    }
  }

  @Test
  void oneSiteHasTheOldCertificate() throws Exception {
    try (var detection = new Detection(Detection.defaults())) {
      BiFunction<String, String, ObjectNode> tls =
          (sha256, until) -> {
            ObjectNode fields = fields().put("kind", "tls");
            fields.putObject("cert").put("sha256", sha256).put("not_after", until);
            return fields;
          };
      ObjectNode old = tls.apply("00aa11bb22", "2026-01-20T00:00:00Z");
      ObjectNode renewed = tls.apply("ffee", "2026-04-20T00:00:00Z");
      play(detection, BASE, BASE + 7 * HOUR, (time, site) -> old);
      play(
          detection,
          BASE + 7 * HOUR,
          BASE + 8 * HOUR,
          (time, site) -> site.equals("fra") ? old : renewed);
      assertThat(detection.firsts()).hasSize(1);
      assertThat(detection.firsts().get(0).path("summary").asText())
          .isEqualTo(
              "Sites disagree about service shop: tls 192.0.2.10:443 has the certificate 00aa11bb"
                  + " (until 2026-01-20) at fra, ffee (until 2026-04-20) at ams, lab.");
    }
  }

  @Test
  void readsProbesAndCountsWhatItCannotRead() throws Exception {
    var config = new Config(1, null, null, null, null, null, null, null, null, null, null, null);
    try (var harness = new OneInputStreamOperatorTestHarness<>(new ProbeReader(config))) {
      harness.open();
      String record =
          """
          {"schema":"dns.probe/1","ts":"2026-01-05T00:01:00Z","node":"p1","site":"ams",\
          "service":"shop","kind":"tcp","target":"192.0.2.10:443","ok":true}\
          """;
      List<String> values = List.of(record, record, "{}", "x", record.replace("shop", "a\\tb"));
      for (int offset = 0; offset < values.size(); offset++) {
        byte[] value = Records.bytes(values.get(offset));
        harness.processElement(
            new StreamRecord<>(new KafkaRecord("dns.probes", 0, offset, BASE, new byte[0], value)));
      }
      harness.prepareSnapshotPreBarrier(1);
      assertThat(harness.extractOutputValues())
          .singleElement()
          .satisfies(cell -> assertThat(cell.values()).containsExactly(2, 0));
      var counts = harness.getSideOutput(CountingOperator.COUNTS).peek().getValue().values();
      assertThat(counts).containsEntry("detect/unreadable", 3L);
    }
  }
}
