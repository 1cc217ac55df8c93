package dnscribe.stream.detect;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.regex.Pattern;

/** Networks of addresses: /24, and /48 of IPv6. */
final class Networks {
  private static final Pattern LITERAL =
      Pattern.compile("\\d{1,3}(\\.\\d{1,3}){3}|[0-9a-fA-F.]*:[0-9a-fA-F.:]*");

  private Networks() {}

  /** Returns the network of an address: /24 or /48; null if it is none. */
  static String of(String address) {
    InetAddress parsed = parse(address);
    return parsed == null ? null : prefix(address, parsed);
  }

  /** Returns the network of a client; null if it is of no interest. */
  static String client(String address, boolean privateToo) {
    InetAddress parsed = parse(address);
    if (parsed == null
        || parsed.isLoopbackAddress()
        || parsed.isLinkLocalAddress()
        || (!privateToo && isPrivate(parsed))) {
      return null;
    }
    return prefix(address, parsed);
  }

  private static String prefix(String address, InetAddress parsed) {
    byte[] bytes = parsed.getAddress();
    if (bytes.length == 4) {
      return address.substring(0, address.lastIndexOf('.')) + ".0/24";
    }
    return String.format(
        "%x:%x:%x::/48",
        ((bytes[0] & 255) << 8) | (bytes[1] & 255),
        ((bytes[2] & 255) << 8) | (bytes[3] & 255),
        ((bytes[4] & 255) << 8) | (bytes[5] & 255));
  }

  /** Returns whether many sites may use the address at once (RFC 1918, 6598, 4193). */
  private static boolean isPrivate(InetAddress address) {
    byte[] bytes = address.getAddress();
    if (bytes.length == 4) {
      return address.isSiteLocalAddress() || (bytes[0] == 100 && (bytes[1] & 0xC0) == 0x40);
    }
    return (bytes[0] & 0xFE) == 0xFC;
  }

  /** Returns an address, or null if the text is none. */
  static InetAddress parse(String address) {
    // Anything else is a name, which must not be looked up.
    if (!LITERAL.matcher(address).matches()) {
      return null;
    }
    try {
      return InetAddress.getByName(address);
    } catch (UnknownHostException error) {
      return null;
    }
  }
}
