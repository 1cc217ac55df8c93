package dnscribe.stream.record;

import static dnscribe.stream.Records.bytes;
import static dnscribe.stream.Records.text;
import static dnscribe.stream.Records.transaction;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import java.nio.charset.Charset;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RecordSchemaTest {
  private final RecordChecker schema = new RecordChecker("dns.transaction/1");

  @Test
  void findsWhereTheSchemaIsNamed() throws MalformedException {
    byte[] json = transaction(1);
    CheckedRecord record = schema.check(json);
    assertThat(record.eventId()).isEqualTo("00000000000000000000000000000001");
    assertThat(record.node()).isEqualTo("n1");
    assertThat(text(json).substring(record.schemaStart(), record.schemaEnd()))
        .isEqualTo("\"dns.transaction/1\"");
    assertThat(record.end()).isEqualTo(json.length - 1);
  }

  @Test
  void takesFieldsThatItDoesNotKnow() throws MalformedException {
    String json = text(transaction(1)).replace("{\"schema\"", "{\"new\":{\"a\":[1,{}]},\"schema\"");
    assertThat(schema.check(bytes(json)).node()).isEqualTo("n1");
  }

  @Test
  void takesTheOrderOfEachRecord() throws Exception {
    String first = text(transaction(1));
    String turned = first.replace("{\"schema\":\"dns.transaction/1\",", "{");
    turned = turned.substring(0, turned.length() - 1) + ",\"schema\":\"dns.transaction/1\"}";
    String more = first.replace("{\"schema\"", "{\"new\":1,\"schema\"");
    String escaped = first.replace("\"node\"", "\"no\\u0064e\"");
    assertThat(escaped).isNotEqualTo(first);
    for (String json : List.of(first, turned, more, escaped, first, escaped, turned, first)) {
      assertThat(schema.check(bytes(json)).node()).isEqualTo("n1");
      String missing = json.replace("\"node\"", "\"nodes\"").replace("no\\u0064e", "nodes");
      var refused =
          catchThrowableOfType(MalformedException.class, () -> schema.check(bytes(missing)));
      assertThat(refused.reason()).isEqualTo("missing_field");
    }
  }

  @Test
  void collectsAnswersInAnyOrderOfTheirFields() throws MalformedException {
    String written = "\"type\":\"A\",\"ttl\":60,\"data\":\"198.51.100.1\"";
    String turned = "\"data\":\"198.51.100.1\",\"ttl\":60,\"type\":\"A\"";
    String json = text(transaction(1)).replace(written, turned);
    assertThat(json).contains(turned);
    assertThat(schema.check(bytes(json)).answers())
        .containsExactly(new CheckedRecord.Answer("A", "198.51.100.1"));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "\"dns.transaction/1\"|\"dns.transaction/2\"|schema",
        "\"node\":\"n1\",||missing_field",
        "\"node\":\"n1\"|\"node\":1|field",
        "\"client_port\":4242|\"client_port\":65536|field",
        "\"client_port\":4242|\"client_port\":-1|field",
        "\"id\":7|\"id\":7.5|field",
        "\"vantage\":\"client\"|\"vantage\":\"server \"|field",
        "T03:04:05|T25:04:05|field",
        "T03:04:05|T03:04:60|field",
        "2026-01-02T|2026-02-29T|field",
        "\"ttl\":60|\"ttl\":\"60\"|field",
        "\"ttl\":60,||missing_field",
        "\"node\":\"n1\",|\"vantage\":\"client\",|field",
        "\"node\":\"n1\",|\"node\":\"n1\",\"node\":\"n2\",|field",
        "\"ttl\":60,|\"ttl\":60,\"ttl\":60,|field",
        "00000000000000000000000000000001|0000000000000000000000000000000G|field",
        "\"id\":7|\"id\":}|json",
        "\"resolver\":\"192.0.2.53\"}|\"resolver\":\"192.0.2.53\"|json",
        "\"resolver\":\"192.0.2.53\"}|\"resolver\":\"192.0.2.53\"} {}|json",
        "\"retries\":0|\"retries\":4294967296|field",
        "\"retries\":0|\"retries\":18446744073709551616|field",
        "\"retries\":0|\"retries\":-1|field",
        "\"retries\":0|\"retries\":0,\"response_bytes\":18446744073709551616|field",
        "\"latency_ms\":1.25|\"latency_ms\":1e999|field",
        "2026-01-02T|1899-12-31T|field",
        "\"retries\":0|\"retries\":0,\"first_seen\":\"1600-01-01T00:00:00Z\"|field",
      })
  void refusesWhatDoesNotFit(String part, String replacement, String reason) throws Exception {
    String json = text(transaction(1)).replace(part, replacement == null ? "" : replacement);
    assertThat(json).isNotEqualTo(text(transaction(1)));
    MalformedException error =
        catchThrowableOfType(MalformedException.class, () -> schema.check(bytes(json)));
    assertThat(error.reason()).isEqualTo(reason);
  }

  @Test
  void takesTheWholeRangeOfNumbers() throws MalformedException {
    String more = "\"retries\":4294967295,\"response_bytes\":18446744073709551615";
    String json = text(transaction(1)).replace("\"retries\":0", more);
    json = json.replace("\"latency_ms\":1.25", "\"latency_ms\":-1.7976931348623157e308");
    assertThat(schema.check(bytes(json)).node()).isEqualTo("n1");
    String huge = json.replace("1.7976931348623157e308", "9".repeat(400));
    var refused = catchThrowableOfType(MalformedException.class, () -> schema.check(bytes(huge)));
    assertThat(refused.reason()).isEqualTo("field");
  }

  /** Offsets are those of UTF-8, and the bytes of a record are copied. */
  @ParameterizedTest
  @CsvSource({"UTF-16", "UTF-16LE", "UTF-16BE", "UTF-32", "UTF-32LE", "UTF-32BE", "ISO-8859-1"})
  void refusesOtherEncodings(String charset) {
    String json = text(transaction(1)).replace("www", "b\u00fccher");
    for (String text : List.of(json, "\ufeff" + json)) {
      byte[] bytes = text.getBytes(Charset.forName(charset));
      var refused = catchThrowableOfType(MalformedException.class, () -> schema.check(bytes));
      assertThat(refused.reason()).isEqualTo("json");
    }
  }

  @Test
  void refusesAMarkOfUtf8AndBytesThatAreNone() throws MalformedException {
    String json = text(transaction(1)).replace("www", "b\u00fccher\u2603\ud83d\ude00");
    assertThat(schema.check(bytes(json)).qname()).startsWith("b\u00fccher");
    assertThat(schema.check(bytes(" \n" + json)).node()).isEqualTo("n1");
    byte[] overlong = transaction(1);
    int name = text(overlong).indexOf("www");
    overlong[name] = (byte) 0xC0;
    overlong[name + 1] = (byte) 0xAF;
    for (byte[] record : List.of(overlong, bytes("\ufeff" + json))) {
      var refused = catchThrowableOfType(MalformedException.class, () -> schema.check(record));
      assertThat(refused.reason()).isEqualTo("json");
    }
  }

  @ParameterizedTest
  @CsvSource({"''", "[1]", "not json", "1"})
  void refusesWhatIsNoObject(String json) {
    MalformedException error =
        catchThrowableOfType(MalformedException.class, () -> schema.check(bytes(json)));
    assertThat(error.reason()).isEqualTo("json");
  }
}
