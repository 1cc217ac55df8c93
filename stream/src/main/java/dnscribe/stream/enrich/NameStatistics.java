package dnscribe.stream.enrich;

/**
 * What a query name looks like.
 *
 * @param labelCount labels, the root's not counted
 * @param longestLabel length of the longest label in bytes
 * @param entropyBits Shannon entropy in bits per byte of the labels before the zone; NaN if there
 *     are none
 */
record NameStatistics(int labelCount, int longestLabel, double entropyBits) {
  /** Greatest number of labels, and greatest length of one, that the schema has. */
  private static final int MOST = 255;

  /**
   * Computes the statistics of a name in presentation form.
   *
   * @param zone the name's registrable domain, or null
   */
  static NameStatistics of(String qname, String zone) {
    if (qname.equals(".")) {
      return new NameStatistics(0, 0, Double.NaN);
    }
    int zoneStart =
        zone != null && qname.endsWith(zone) ? qname.length() - zone.length() : qname.length();
    int[] bytes = new int[256];
    int total = 0;
    int labels = 1;
    int length = 0;
    int longest = 0;
    for (int i = 0; i < qname.length(); i++) {
      char c = qname.charAt(i);
      if (c == '.') {
        labels++;
        longest = Math.max(longest, length);
        length = 0;
        continue;
      }
      int start = i;
      int value = c;
      if (c == '\\' && i + 1 < qname.length()) {
        if (areDigits(qname, i + 1, i + 4)) {
          value = Integer.parseInt(qname.substring(i + 1, i + 4));
          i += 3;
        } else {
          i += 1;
          value = qname.charAt(i);
        }
      }
      length++;
      if (start < zoneStart) {
        bytes[value & 0xFF]++;
        total++;
      }
    }
    return new NameStatistics(labels, Math.max(longest, length), entropy(bytes, total));
  }

  /** Returns whether the schema has these numbers: those of a name in DNS are smaller. */
  boolean isOfName() {
    return labelCount <= MOST && longestLabel <= MOST;
  }

  /**
   * Appends the statistics as a JSON field.
   *
   * @param nameClass class of the name, or null
   */
  void append(StringBuilder json, String nameClass) {
    json.append(",\"name\":{\"label_count\":").append(labelCount);
    json.append(",\"longest_label\":").append(longestLabel);
    if (!Double.isNaN(entropyBits)) {
      long thousandths = Math.round(entropyBits * 1000);
      json.append(",\"entropy_bits\":").append(thousandths / 1000).append('.');
      appendFraction(json, (int) (thousandths % 1000));
    }
    if (nameClass != null) {
      json.append(",\"class\":\"").append(nameClass).append('"');
    }
    json.append('}');
  }

  /** Appends thousandths without zeros at the end, at least one digit. */
  private static void appendFraction(StringBuilder json, int thousandths) {
    json.append((char) ('0' + thousandths / 100));
    if (thousandths % 100 != 0) {
      json.append((char) ('0' + thousandths / 10 % 10));
    }
    if (thousandths % 10 != 0) {
      json.append((char) ('0' + thousandths % 10));
    }
  }

  private static double entropy(int[] counts, int total) {
    if (total == 0) {
      return Double.NaN;
    }
    // log2(total) - sum of count * log2(count) / total: few logarithms, as most bytes come once.
    double sum = 0;
    for (int count : counts) {
      if (count > 1) {
        sum += count * Math.log(count);
      }
    }
    return Math.max(0, (Math.log(total) - sum / total) / Math.log(2));
  }

  private static boolean areDigits(String text, int start, int end) {
    boolean found = end <= text.length();
    for (int i = start; found && i < end; i++) {
      found = text.charAt(i) >= '0' && text.charAt(i) <= '9';
    }
    return found;
  }
}
