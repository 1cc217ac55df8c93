package dnscribe.stream.store;

import static org.assertj.core.api.Assertions.assertThat;

import dnscribe.stream.Damage;
import dnscribe.stream.fleet.ProbePoint;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.JsonFields;
import dnscribe.stream.record.MalformedException;
import dnscribe.stream.record.Time;
import java.util.List;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Damaged records in front of the stores: each is refused, or what writers read of it is there. */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class DamagedEventsTest {
  private static final int ATTEMPTS = 10_000;

  @ParameterizedTest
  @CsvSource({
    "alerts.ndjson,dns.alert/1",
    "encrypted.ndjson,dns.connection/1",
    "lookups.ndjson,dns.lookup/1",
    "probes.ndjson,dns.probe/1",
    "uses.ndjson,dns.use/1",
  })
  void isRefusedOrCanBeWritten(String file, String schema) throws Exception {
    List<byte[]> records = Damage.goldens(file, schema);
    Damage damage = new Damage(1);
    EventParser parser = new EventParser(schema);
    int taken = 0;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      byte[] value = damage.json(damage.one(records));
      OutputRecord event;
      try {
        event =
            RecordReader.parse(
                parser, new KafkaRecord("t", 0, attempt, 1_900_000_000_000L, null, value));
      } catch (MalformedException refused) {
        assertThat(refused.reason()).as(refused.getMessage()).isNotEqualTo("unreadable");
        continue;
      }
      taken++;
      Time.epochSeconds(JsonFields.text(event.value(), "ts"));
      if (schema.equals("dns.probe/1")) {
        assertThat(ProbePoint.of(event).value()).isNotEmpty();
      }
    }
    assertThat(taken).isBetween(ATTEMPTS / 10, ATTEMPTS);
  }
}
