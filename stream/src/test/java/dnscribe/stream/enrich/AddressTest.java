package dnscribe.stream.enrich;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class AddressTest {
  @ParameterizedTest
  @CsvSource({
    "192.0.2.1,192.0.2.1",
    "255.255.255.255,255.255.255.255",
    "0.0.0.0,0.0.0.0",
    "2001:db8::1,2001:db8:0:0:0:0:0:1",
    "::ffff:192.0.2.1,192.0.2.1",
    "192.0.2,",
    "192.0.2.256,",
    "192.0.2.1.,",
    ".192.0.2.1,",
    "192.0.2.1.5,",
    "abc.de,",
    "fe80::zz,",
    "'',",
  })
  void parsesAddresses(String text, String expected) {
    Address address = Address.parse(text);
    assertThat(address == null ? null : address.toInetAddress().getHostAddress())
        .isEqualTo(expected);
  }

  @ParameterizedTest
  @CsvSource({
    "192.0.2.77/24,192.0.2.0,120",
    "192.0.2.77,192.0.2.77,128",
    "0.0.0.0/0,0.0.0.0,96",
    "2001:db8:ffff::/33,2001:db8:8000:0:0:0:0:0,33",
    "::/0,0:0:0:0:0:0:0:0,0",
    "192.0.2.0/33,,",
    "192.0.2.0/-1,,",
    "2001:db8::/129,,",
    "192.0.2.0/x,,",
    "example.com,,",
  })
  void parsesPrefixes(String text, String address, Integer length) {
    Address.Prefix prefix = Address.Prefix.parse(text);
    if (address == null) {
      assertThat(prefix).isNull();
    } else {
      assertThat(prefix.address().toInetAddress().getHostAddress()).isEqualTo(address);
      assertThat(prefix.length()).isEqualTo(length);
    }
  }

  /** Java's own parser, which takes a text with a colon for nothing but an IPv6 address. */
  @Test
  void agreesWithJavaAboutIpv6() throws Exception {
    Random random = new Random(1);
    for (int i = 0; i < 200_000; i++) {
      StringBuilder text = new StringBuilder();
      for (int part = random.nextInt(9); part >= 0; part--) {
        text.append(random.nextInt(4) == 0 ? "" : Integer.toHexString(random.nextInt(1 << 16)));
        text.append(part > 0 || random.nextInt(4) == 0 ? ":" : "");
      }
      text.append(random.nextInt(8) == 0 ? ":192.0.2.1" : "");
      if (text.indexOf(":") < 0) {
        continue;
      }
      InetAddress expected;
      try {
        expected = InetAddress.getByName(text.toString());
      } catch (UnknownHostException notAnAddress) {
        expected = null;
      }
      Address address = Address.parse(text.toString());
      assertThat(address == null ? null : address.toInetAddress())
          .as(text.toString())
          .isEqualTo(expected);
    }
  }
}
