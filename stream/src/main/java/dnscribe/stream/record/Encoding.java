package dnscribe.stream.record;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/**
 * Checks that records are UTF-8 without a byte order mark. The parser reads other encodings, too,
 * but what is copied from a record is its bytes, and stores refuse whole batches because of one.
 */
final class Encoding {
  private static final VarHandle LONGS =
      MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.nativeOrder());

  /** Bits that no ASCII character has, of eight bytes. */
  private static final long HIGH_BITS = 0x8080_8080_8080_8080L;

  private Encoding() {}

  /**
   * Checks the bytes of an object.
   *
   * @throws MalformedException if they do not begin an object, or are not UTF-8
   */
  static void check(byte[] json) throws MalformedException {
    boolean begins = json.length > 0 && (json[0] == '{' || isSpace(json[0]));
    // Zero bytes are those of UTF-16 and UTF-32.
    if (!begins || (json.length > 1 && json[1] == 0)) {
      throw new MalformedException("json", "not an object in UTF-8");
    }
    int ascii = 0;
    while (ascii + Long.BYTES <= json.length && ((long) LONGS.get(json, ascii) & HIGH_BITS) == 0) {
      ascii += Long.BYTES;
    }
    while (ascii < json.length && json[ascii] >= 0) {
      ascii++;
    }
    if (ascii == json.length) {
      return;
    }
    try {
      var unused =
          StandardCharsets.UTF_8
              .newDecoder()
              .decode(ByteBuffer.wrap(json, ascii, json.length - ascii));
    } catch (CharacterCodingException error) {
      throw new MalformedException("json", "not UTF-8: " + error.getMessage());
    }
  }

  private static boolean isSpace(byte value) {
    return value == ' ' || value == '\n' || value == '\r' || value == '\t';
  }
}
