package dnscribe.stream.enrich;

import dnscribe.stream.record.CheckedRecord;

/** Names in presentation form: lower case, no trailing dot, with {@code \.} and {@code \DDD}. */
final class Names {
  private Names() {}

  /** Returns where the parent of the name from {@code start} on begins; -1 if that is the root. */
  static int parent(String name, int start) {
    int dot = name.indexOf('.', start);
    while (dot > 0 && name.charAt(dot - 1) == '\\') {
      dot = name.indexOf('.', dot + 1);
    }
    return dot < 0 || dot + 1 >= name.length() ? -1 : dot + 1;
  }

  /** Returns the name that the data of an answer refers to; null if there is none. */
  static String target(CheckedRecord.Answer answer) {
    String data = answer.data();
    return switch (answer.type()) {
      case "CNAME", "DNAME", "NS", "PTR" -> data;
      case "MX", "SRV" -> data.substring(data.lastIndexOf(' ') + 1);
      case "SVCB", "HTTPS" -> {
        int from = data.indexOf(' ') + 1;
        int end = data.indexOf(' ', from);
        yield data.substring(from, end < 0 ? data.length() : end);
      }
      default -> null;
    };
  }
}
