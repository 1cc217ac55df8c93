package dnscribe.stream.enrich;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class NameStatisticsTest {
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      value = {
        "www.example.com|example.com|\"label_count\":3,\"longest_label\":7,\"entropy_bits\":0.0",
        "abcd.example.com|example.com|\"label_count\":3,\"longest_label\":7,\"entropy_bits\":2.0",
        "ab.ab.example.com|example.com|\"label_count\":4,\"longest_label\":7,\"entropy_bits\":1.0",
        "example.com|example.com|\"label_count\":2,\"longest_label\":7",
        "com||\"label_count\":1,\"longest_label\":3,\"entropy_bits\":1.585",
        ".||\"label_count\":0,\"longest_label\":0",
        "a\\.b\\000.example|example|\"label_count\":2,\"longest_label\":7,\"entropy_bits\":2.0",
      })
  void describesNames(String qname, String zone, String expected) {
    StringBuilder json = new StringBuilder();
    NameStatistics.of(qname, zone).append(json);
    assertThat(json.toString().replace("\"", "'"))
        .isEqualTo(",\"name\":{".replace("\"", "'") + expected.replace("\"", "'") + "}");
  }
}
