package dnscribe.stream.enrich;

/**
 * Classifies a query name by its longest label before the public suffix: chosen by people, encoded
 * data, numbers. The model of letter pairs is the one with which the agent finds generated names.
 */
final class NameClass {
  /**
   * Surprise of each pair of letters, row by row from {@code aa} to {@code zz}, in half bits, as
   * base-36 digits. Counted over English technical prose and the parts of software package names.
   */
  private static final String PAIRS =
      "e988edagaic786h9k686bceecg"
          + "7a9a7bbe7ad7ad7ag98b7eecbf"
          + "7dac7cg6aj78cf5cj9b7aghhei"
          + "79a94add6geabc8bh99b9eehdi"
          + "9c88bbcfcif9a7dbe557fcdadi"
          + "7b9a77dh5lh8de6di89a9hfgbk"
          + "8dab4dba8hh9b98bh7899fehef"
          + "4ecc4egg6ifcbc6ch9b89gdjci"
          + "a68aabajhie8948aja87hbjdjb"
          + "5c9a5cdd8edcbb7agd7c8cdffg"
          + "7bab4cbc6geaac8bia899fchcf"
          + "7dca5dfg4kf8ef6ckf99adghah"
          + "59bb5eeg7if9af77ieacagghej"
          + "8e877a6e8hcdda8cie76bcfheh"
          + "bb88ebbgchc88598k6998badgh"
          + "6ebb6dda8ke7cd79i698agfhak"
          + "cdaccdeebff7accbeaa72ddehh"
          + "6daa4cbg6jdcab7cia88bcgjai"
          + "9e9d6ef97jcbcd99ed749fdgbh"
          + "7e9c4cf86icbce7bj799bfegag"
          + "a9ab9bbh9ie786e8l776ggheif"
          + "5dbc3eeg5jhdad9didbcfeggfh"
          + "5cbb6dea4hebb98ch78bdheffi"
          + "9c7a7acd8icb7dc6gb85dddbbf"
          + "8a8b9bbeage98795ga67bddfed"
          + "6ccb3cdb6edabd8ehebdbfdfaa";

  private static final byte[] SURPRISE = new byte[PAIRS.length()];

  static {
    for (int i = 0; i < SURPRISE.length; i++) {
      SURPRISE[i] = (byte) Character.digit(PAIRS.charAt(i), 36);
    }
  }

  /** Surprise of a letter next to a digit, in half bits. */
  private static final int MIXED = 14;

  /** Surprise of two digits, in half bits: numbers are common in names. */
  private static final int DIGITS = 7;

  /** Surprise of a pair with another character, in half bits. */
  private static final int FOREIGN = 16;

  /** Shorter parts of a label, between hyphens, are words: too few pairs to tell. */
  private static final int MIN_LENGTH = 8;

  /** Mean surprise, in bits, from which a label of ten characters or more looks random. */
  private static final double MIN_SURPRISE = 4.75;

  /** Mean surprise, in bits, from which a shorter label looks random; chance matters more there. */
  private static final double MIN_SURPRISE_SHORT = 5.2;

  /** Shortest label that is taken for a hexadecimal number. */
  private static final int MIN_HEX = 12;

  /** Shortest label that is taken for Base32. */
  private static final int MIN_BASE32 = 16;

  /** Shortest label that is taken for Base64: without upper case it resembles random names. */
  private static final int MIN_BASE64 = 20;

  private NameClass() {}

  /**
   * Returns the class of a name in presentation form; null for the root.
   *
   * @param zone the name's registrable domain, or null
   */
  static String of(String qname, String zone) {
    if (qname.equals(".")) {
      return null;
    }
    if (isBelow(qname, "in-addr.arpa") || isBelow(qname, "ip6.arpa")) {
      return "reverse";
    }
    if (qname.startsWith("xn--") || qname.contains(".xn--")) {
      return "idn";
    }
    return classify(longestLabel(qname, zone));
  }

  private static boolean isBelow(String name, String zone) {
    return name.endsWith(zone)
        && (name.length() == zone.length()
            || name.charAt(name.length() - zone.length() - 1) == '.');
  }

  /** Returns the longest label before the public suffix, or of all without a zone. */
  private static String longestLabel(String qname, String zone) {
    int end = qname.length();
    if (zone != null && isBelow(qname, zone)) {
      int suffix = zone.indexOf('.');
      end -= suffix < 0 ? 0 : zone.length() - suffix;
    }
    int from = 0;
    int longest = 0;
    int longestFrom = 0;
    for (int i = 0; i <= end; i++) {
      if (i == end || (qname.charAt(i) == '.' && (i == 0 || qname.charAt(i - 1) != '\\'))) {
        if (i - from > longest) {
          longest = i - from;
          longestFrom = from;
        }
        from = i + 1;
      }
    }
    return qname.substring(longestFrom, longestFrom + longest);
  }

  private static String classify(String label) {
    int digits = 0;
    int hexLetters = 0;
    int base32 = 0;
    int symbols = 0;
    int length = 0;
    for (int i = 0; i < label.length(); i++) {
      char c = label.charAt(i);
      if (isSeparator(c)) {
        continue;
      }
      length++;
      digits += isDigit(c) ? 1 : 0;
      hexLetters += c >= 'a' && c <= 'f' ? 1 : 0;
      base32 += isLetter(c) || (c >= '2' && c <= '7') ? 1 : 0;
      symbols += c == '+' || c == '/' || c == '=' ? 1 : 0;
    }
    if (length > 0 && digits == length) {
      return "digits";
    }
    if (length >= MIN_HEX && digits >= 3 && hexLetters >= 3 && digits + hexLetters == length) {
      return "hex";
    }
    if (!hasRandomPart(label)) {
      return "words";
    }
    if (length >= MIN_BASE32 && digits >= 2 && base32 == length) {
      return "base32";
    }
    boolean hasShareOfDigits = digits * 20 >= length && digits * 3 <= length;
    if (symbols > 0 || (length >= MIN_BASE64 && hasShareOfDigits)) {
      return "base64";
    }
    return "random";
  }

  private static boolean hasRandomPart(String label) {
    int from = 0;
    for (int i = 0; i <= label.length(); i++) {
      if (i == label.length() || isSeparator(label.charAt(i))) {
        if (i - from >= MIN_LENGTH && isRandom(label, from, i)) {
          return true;
        }
        from = i + 1;
      }
    }
    return false;
  }

  private static boolean isRandom(String label, int from, int to) {
    int sum = 0;
    for (int i = from + 1; i < to; i++) {
      sum += surprise(label.charAt(i - 1), label.charAt(i));
    }
    double threshold = to - from < 10 ? MIN_SURPRISE_SHORT : MIN_SURPRISE;
    return sum / 2.0 / (to - from - 1) >= threshold;
  }

  private static int surprise(char first, char second) {
    if (isLetter(first) && isLetter(second)) {
      return SURPRISE[(first - 'a') * 26 + second - 'a'];
    }
    if (isDigit(first) && isDigit(second)) {
      return DIGITS;
    }
    boolean isMixed = (isLetter(first) || isDigit(first)) && (isLetter(second) || isDigit(second));
    return isMixed ? MIXED : FOREIGN;
  }

  private static boolean isSeparator(char c) {
    return c == '-' || c == '_';
  }

  private static boolean isLetter(char c) {
    return c >= 'a' && c <= 'z';
  }

  private static boolean isDigit(char c) {
    return c >= '0' && c <= '9';
  }
}
