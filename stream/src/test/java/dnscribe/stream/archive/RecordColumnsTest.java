package dnscribe.stream.archive;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

class RecordColumnsTest {
  private static String columns(String json) throws IOException {
    Recorder recorder = new Recorder();
    byte[] record = json.getBytes(StandardCharsets.UTF_8);
    new RecordColumns(Column.load("dns.enriched/1"), recorder).write(record);
    return recorder.text.toString();
  }

  @Test
  void fieldsAreTyped() throws IOException {
    assertThat(
            columns(
                """
                {"schema":"dns.enriched/1","ts":"2026-01-31T10:00:00.000000001Z","id":65535,
                "min_ttl_seconds":4294967295,"latency_ms":3,"conflict":true,"region":null}"""))
        .isEqualTo(
            "{schema='dns.enriched/1' ts=1769853600000000001L id=65535 "
                + "min_ttl_seconds=4294967295L latency_ms=3.0 conflict=true }");
  }

  @Test
  void listsStructsAndMapsAreNested() throws IOException {
    assertThat(
            columns(
                """
                {"flags":["rd","ra"],"answers":[],"answers_geo":[{"country":"KR"},{}],
                "labels":{"environment":"prod"},"edns":{"ede":{"code":18,"text":""}}}"""))
        .isEqualTo(
            "{flags={list={element='rd' }{element='ra' } } answers={} "
                + "answers_geo={list={element={country='KR' } }{element={} } } "
                + "labels={key_value={key='environment' element='prod' } } "
                + "edns={ede={code=18 text='' } } }");
  }

  @Test
  void whatNoColumnTakesIsKeptAsText() throws IOException {
    assertThat(
            columns(
                """
                {"ts":"9999-01-31T10:00:00Z","id":1,"id":2,"response_bytes":9223372036854775808,
                "new":{"a": [1.50, "\\u00e9"]},"edns":{"new":7},"flags":["rd",3]}"""))
        .isEqualTo(
            "{id=1 edns={} flags={list={element='rd' }{} } "
                + "other_fields={key_value={key='/edns/new' element='7' }"
                + "{key='/flags/1' element='3' }"
                + "{key='/id' element='2' }"
                + "{key='/new' element='{\"a\": [1.50, \"\\u00e9\"]}' }"
                + "{key='/response_bytes' element='9223372036854775808' }"
                + "{key='/ts' element='\"9999-01-31T10:00:00Z\"' } } }");
  }
}
