package dnscribe.stream.detect;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;

/** Networks of addresses: /24, and /48 of IPv6. */
final class Networks {
  private Networks() {}

  /** Returns the network of an address: /24 or /48; null if it is none, or masked. */
  static String of(String address) {
    InetAddress parsed = parse(address);
    return parsed == null || isMasked(parsed) ? null : prefix(address, parsed);
  }

  /** Returns the network of a client; null if it is of no interest. */
  static String client(String address, boolean privateToo) {
    InetAddress parsed = parse(address);
    if (parsed == null
        || isMasked(parsed)
        || parsed.isLoopbackAddress()
        || parsed.isLinkLocalAddress()
        || (!privateToo && isPrivate(parsed))) {
      return null;
    }
    return prefix(address, parsed);
  }

  /** Returns whether an agent put it in place of one: a pseudonym in 100::/64, or {@code ::}. */
  private static boolean isMasked(InetAddress address) {
    byte[] bytes = address.getAddress();
    long network = bytes.length == 4 ? 0 : ByteBuffer.wrap(bytes).getLong();
    return network == 0x0100L << 48 || (bytes.length == 16 && address.isAnyLocalAddress());
  }

  private static String prefix(String address, InetAddress parsed) {
    byte[] bytes = parsed.getAddress();
    if (bytes.length == 4) {
      return address.substring(0, address.lastIndexOf('.')) + ".0/24";
    }
    return hex(bytes, 0) + ":" + hex(bytes, 2) + ":" + hex(bytes, 4) + "::/48";
  }

  private static String hex(byte[] bytes, int offset) {
    return Integer.toHexString(((bytes[offset] & 255) << 8) | (bytes[offset + 1] & 255));
  }

  /** Returns whether many sites may use the address at once (RFC 1918, 6598, 4193). */
  private static boolean isPrivate(InetAddress address) {
    byte[] bytes = address.getAddress();
    if (bytes.length == 4) {
      return address.isSiteLocalAddress() || (bytes[0] == 100 && (bytes[1] & 0xC0) == 0x40);
    }
    return (bytes[0] & 0xFE) == 0xFC;
  }

  /** Returns an address, or null if the text is none. Nothing is looked up. */
  static InetAddress parse(String address) {
    try {
      if (address.indexOf(':') >= 0) {
        return InetAddress.getByName(address);
      }
      byte[] bytes = ipv4(address);
      return bytes == null ? null : InetAddress.getByAddress(bytes);
    } catch (UnknownHostException error) {
      return null;
    }
  }

  private static byte[] ipv4(String address) {
    byte[] bytes = new byte[4];
    int part = 0;
    int value = -1;
    for (int i = 0; i <= address.length(); i++) {
      char c = i < address.length() ? address.charAt(i) : '.';
      if (c == '.') {
        if (value < 0 || part == bytes.length) {
          return null;
        }
        bytes[part++] = (byte) value;
        value = -1;
      } else if (c < '0' || c > '9' || value > 25) {
        return null;
      } else {
        value = Math.max(value, 0) * 10 + c - '0';
        if (value > 255) {
          return null;
        }
      }
    }
    return part == bytes.length ? bytes : null;
  }
}
