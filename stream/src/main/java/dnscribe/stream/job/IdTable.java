package dnscribe.stream.job;

/**
 * A hash table of 128-bit ids in one array, which is Flink's state: an id takes 21 to 32 bytes and
 * no object. An id is forgotten after a given number of periods.
 *
 * <p>The first element counts the places in use, expired ones among them. Each place has two: the
 * low half of an id, and the high half with its first 16 bits replaced by the period in which the
 * id was added. Event ids of a capture have these bits in common.
 */
final class IdTable {
  private static final int SMALLEST = 8;
  private static final int PERIOD_BITS = 15;
  private static final int PERIODS = 1 << PERIOD_BITS;

  /** Number of periods after which no id is forgotten. */
  static final int FOR_EVER = PERIODS;

  private static final long IN_USE = 1L << 63;
  private static final long ID_BITS = -1L >>> (PERIOD_BITS + 1);

  /** Multiplier of Fibonacci hashing. */
  private static final long SPREAD = 0x9E37_79B9_7F4A_7C15L;

  private IdTable() {}

  /** Returns an empty table. */
  static long[] create() {
    return new long[1 + 2 * SMALLEST];
  }

  /**
   * Adds an id unless it is in the table.
   *
   * @param period now, in a unit of which an id is remembered for {@code remembered}
   * @return the table with the id, which may be a larger one; null if it has the id already
   */
  static long[] add(long[] table, long high, long low, long period, int remembered) {
    int place = find(table, high, low);
    long now = period & (PERIODS - 1);
    if (table[place] < 0) {
      if (age(table[place], now) <= remembered) {
        return null;
      }
      table[place] = entry(high, now);
      return table;
    }
    long[] result = table;
    // At most three quarters full: probing takes few steps.
    if ((table[0] + 1) * 8 > (table.length - 1) * 3L) {
      result = withoutExpired(table, now, remembered);
      place = find(result, high, low);
    }
    result[place] = entry(high, now);
    result[place + 1] = low;
    result[0]++;
    return result;
  }

  private static long entry(long high, long period) {
    return IN_USE | (period << (63 - PERIOD_BITS)) | (high & ID_BITS);
  }

  /** Returns for how many periods an id has been in the table; 0 if time has gone back since. */
  private static long age(long entry, long now) {
    long age = (now - (entry >>> (63 - PERIOD_BITS))) & (PERIODS - 1);
    return age < PERIODS / 2 ? age : 0;
  }

  /** Returns the index of an id, or of the free place for it. */
  private static int find(long[] table, long high, long low) {
    int places = (table.length - 1) / 2;
    long hash = ((low ^ (high & ID_BITS)) * SPREAD) >>> 32;
    int place = (int) ((hash * places) >>> 32);
    while (true) {
      int index = 1 + 2 * place;
      boolean isFree = table[index] >= 0;
      if (isFree || (table[index + 1] == low && ((table[index] ^ high) & ID_BITS) == 0)) {
        return index;
      }
      place = place + 1 == places ? 0 : place + 1;
    }
  }

  /** Returns a table of the ids that are remembered, half full. */
  private static long[] withoutExpired(long[] table, long now, int remembered) {
    int count = 0;
    for (int i = 1; i < table.length; i += 2) {
      count += table[i] < 0 && age(table[i], now) <= remembered ? 1 : 0;
    }
    long[] result = new long[1 + 4 * Math.max(count, SMALLEST / 2)];
    for (int i = 1; i < table.length; i += 2) {
      if (table[i] < 0 && age(table[i], now) <= remembered) {
        int place = find(result, table[i], table[i + 1]);
        result[place] = table[i];
        result[place + 1] = table[i + 1];
        result[0]++;
      }
    }
    return result;
  }
}
