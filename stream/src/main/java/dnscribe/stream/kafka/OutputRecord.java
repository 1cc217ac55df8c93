package dnscribe.stream.kafka;

import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.flink.api.common.typeinfo.TypeInfo;

/**
 * A record to be written to a topic; schema, node and event id become headers. Its arrays are
 * compared by identity.
 *
 * @param node as bytes in UTF-8
 * @param idHigh first half of the event id
 * @param idLow second half of it
 * @param key as bytes, or null
 */
@TypeInfo(OutputRecordTypeFactory.class)
public record OutputRecord(
    String schema, byte[] node, long idHigh, long idLow, byte[] key, byte[] value) {
  /** Digits of an event id. */
  static final int ID_DIGITS = 32;

  private static final byte[] DIGITS = "0123456789abcdef".getBytes(StandardCharsets.US_ASCII);

  /** Creates a record; {@code eventId} is 32 hexadecimal digits. */
  public OutputRecord(String schema, String node, String eventId, byte[] key, byte[] value) {
    this(
        schema,
        node.getBytes(StandardCharsets.UTF_8),
        HexFormat.fromHexDigitsToLong(eventId, 0, ID_DIGITS / 2),
        HexFormat.fromHexDigitsToLong(eventId, ID_DIGITS / 2, ID_DIGITS),
        key,
        value);
  }

  /** Returns the event id as text. */
  public String eventId() {
    return new String(idDigits(), StandardCharsets.US_ASCII);
  }

  /** Returns the bytes of the event id as text. */
  byte[] idDigits() {
    int half = ID_DIGITS / 2;
    byte[] digits = new byte[ID_DIGITS];
    for (int i = 0; i < half; i++) {
      int shift = 4 * (half - 1 - i);
      digits[i] = DIGITS[(int) (idHigh >>> shift) & 15];
      digits[half + i] = DIGITS[(int) (idLow >>> shift) & 15];
    }
    return digits;
  }
}
