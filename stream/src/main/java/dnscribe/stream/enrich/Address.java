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

  /** First 16 bits of an address that has an IPv4 address after them (RFC 3056). */
  private static final long SIX_TO_FOUR = 0x2002;

  /** Parses an address as text; null if it is none. It never asks a name server. */
  static Address parse(String text) {
    if (text.indexOf(':') < 0) {
      return parseIpv4(text);
    }
    return parseIpv6(text);
  }

  /** Parses the forms of RFC 4291, section 2.2. */
  private static Address parseIpv6(String text) {
    int[] groups = new int[8];
    int count = 0;
    // Groups before "::", which stands for as many zeros as are missing.
    int gap = text.startsWith("::") ? 0 : -1;
    int place = gap == 0 ? 2 : 0;
    while (place < text.length()) {
      int end = place;
      int value = 0;
      while (end < text.length() && end < place + 5 && hexDigit(text.charAt(end)) >= 0) {
        value = value << 4 | hexDigit(text.charAt(end));
        end++;
      }
      if (end < text.length() && text.charAt(end) == '.' && count < 7) {
        Address last = parseIpv4(text.substring(place));
        if (last == null) {
          return null;
        }
        groups[count++] = (int) (last.low >>> 16) & 0xFFFF;
        groups[count++] = (int) last.low & 0xFFFF;
        break;
      }
      if (end == place || end > place + 4 || count == 8) {
        return null;
      }
      groups[count++] = value;
      if (end == text.length()) {
        break;
      }
      place = end + 1;
      boolean isGap = place < text.length() && text.charAt(place) == ':';
      if (text.charAt(end) != ':' || place == text.length() || (isGap && gap >= 0)) {
        return null;
      }
      if (isGap) {
        gap = count;
        place++;
      }
    }
    boolean isWhole = gap < 0 ? count == 8 : count < 8;
    return isWhole ? of(groups, count, gap < 0 ? count : gap) : null;
  }

  /** Returns the address of these groups, with zeros after the first {@code gap} of them. */
  private static Address of(int[] groups, int count, int gap) {
    long[] halves = new long[2];
    for (int i = 0; i < count; i++) {
      int place = i < gap ? i : i + 8 - count;
      halves[place / 4] |= (long) groups[i] << (48 - place % 4 * 16);
    }
    return new Address(halves[0], halves[1]);
  }

  private static int hexDigit(char c) {
    return c < 128 ? Character.digit(c, 16) : -1;
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

  /**
   * Returns how many of its 128 bits an agent leaves that truncates it: those of a /24 or /48, or
   * of the /24 in a 6to4 address.
   */
  int truncatedBits() {
    if (isIpv4()) {
      return IPV4_OFFSET + 24;
    }
    return high >>> 48 == SIX_TO_FOUR ? 40 : 48;
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
