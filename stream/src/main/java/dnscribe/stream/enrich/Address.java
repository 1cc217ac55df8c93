package dnscribe.stream.enrich;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;

/**
 * An IP address as 128 bits; IPv4 as {@code ::ffff:a.b.c.d}.
 *
 * @param high the first 64 bits
 * @param low the last 64 bits
 */
record Address(long high, long low) {
  /** Bits of an IPv4 address before its own 32. */
  static final int IPV4_OFFSET = 96;

  private static final long IPV4_PREFIX = 0xFFFFL << 32;

  /** Parses an address as text; null if it is none. It never asks a name server. */
  static Address parse(String text) {
    if (text.indexOf(':') < 0) {
      return parseIpv4(text);
    }
    try {
      // With a colon Java takes the text for an IPv6 address and for nothing else.
      byte[] bytes = InetAddress.getByName(text).getAddress();
      ByteBuffer buffer = ByteBuffer.wrap(bytes);
      return bytes.length == 4
          ? new Address(0, IPV4_PREFIX | Integer.toUnsignedLong(buffer.getInt()))
          : new Address(buffer.getLong(), buffer.getLong());
    } catch (UnknownHostException notAnAddress) {
      return null;
    }
  }

  private static Address parseIpv4(String text) {
    long address = 0;
    int part = -1;
    int parts = 1;
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c == '.' && part >= 0) {
        address = address << 8 | part;
        part = -1;
        parts++;
      } else if (c >= '0' && c <= '9' && part <= 25) {
        part = Math.max(part, 0) * 10 + c - '0';
      } else {
        return null;
      }
      if (part > 255) {
        return null;
      }
    }
    return parts == 4 && part >= 0 ? new Address(0, IPV4_PREFIX | address << 8 | part) : null;
  }

  /** Whether this is an IPv4 address. */
  boolean isIpv4() {
    return high == 0 && low >>> 32 == 0xFFFF;
  }

  /** Returns the address with all bits after the first {@code length} of 128 set to zero. */
  Address masked(int length) {
    if (length <= 64) {
      return new Address(length == 0 ? 0 : high & -1L << (64 - length), 0);
    }
    return new Address(high, low & -1L << (128 - length));
  }

  /** Returns Java's form of the address. */
  InetAddress toInetAddress() {
    ByteBuffer bytes = ByteBuffer.allocate(16).putLong(high).putLong(low);
    try {
      // Java makes an IPv4 address of ::ffff:a.b.c.d.
      return InetAddress.getByAddress(bytes.array());
    } catch (UnknownHostException impossible) {
      throw new IllegalStateException("16 bytes are an address", impossible);
    }
  }

  /** A network: an address and the length of its prefix in 128 bits. */
  record Prefix(Address address, int length) {
    /** Parses {@code 192.0.2.0/24} or a single address; null if it is neither. */
    static Prefix parse(String text) {
      int slash = text.indexOf('/');
      Address address = Address.parse(slash < 0 ? text : text.substring(0, slash));
      if (address == null) {
        return null;
      }
      int offset = address.isIpv4() && text.indexOf(':') < 0 ? IPV4_OFFSET : 0;
      int length = 128;
      if (slash >= 0) {
        try {
          length = offset + Integer.parseInt(text, slash + 1, text.length(), 10);
        } catch (NumberFormatException notANumber) {
          return null;
        }
      }
      return length < offset || length > 128 ? null : new Prefix(address.masked(length), length);
    }
  }
}
