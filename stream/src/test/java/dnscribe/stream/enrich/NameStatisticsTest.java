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
    NameStatistics.of(qname, zone).append(json, null);
    assertThat(json.toString().replace("\"", "'"))
        .isEqualTo(",\"name\":{".replace("\"", "'") + expected.replace("\"", "'") + "}");
  }

  @ParameterizedTest
  @CsvSource({
    "www.example.com,example.com,words",
    "example.com,example.com,words",
    "mail-relay-02.internal.example.com,example.com,words",
    "ns-1984.awsdns-56.co.uk,awsdns-56.co.uk,words",
    "hvmahqaxcmctaa.srv.tunnel.com,tunnel.com,random",
    "1.pool.ntp.org,ntp.org,words",
    "s3.eu-central-1.amazonaws.com,s3.eu-central-1.amazonaws.com,words",
    "4.4.8.8.in-addr.arpa,,reverse",
    "b.a.9.8.ip6.arpa,,reverse",
    "xn--bcher-kva.example,xn--bcher-kva.example,idn",
    "20260102030405.example.com,example.com,digits",
    "d41d8cd98f00b204e9800998ecf8427e.example.com,example.com,hex",
    "123e4567-e89b-12d3-a456-426614174000.example.com,example.com,hex",
    "xkqjzvbwptmgh.com,xkqjzvbwptmgh.com,random",
    "www.xkqjzvbwptmgh.com,xkqjzvbwptmgh.com,random",
    "mfrggzdfmztwq2lknnwg23tpobyxe43u.t.example.com,example.com,base32",
    "zgf0ysb0agf0iglzihnlbnqgb3v0.example.com,example.com,base64",
    "com,,words",
  })
  void classifiesNames(String qname, String zone, String expected) {
    assertThat(NameClass.of(qname, zone)).isEqualTo(expected);
  }
}
