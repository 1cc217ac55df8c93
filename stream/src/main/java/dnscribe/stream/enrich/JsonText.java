package dnscribe.stream.enrich;

import com.fasterxml.jackson.core.io.JsonStringEncoder;

/** Text as JSON. */
final class JsonText {
  private JsonText() {}

  /** Appends a text with its quotes. */
  static void appendQuoted(StringBuilder json, String text) {
    json.append('"');
    JsonStringEncoder.getInstance().quoteAsString(text, json);
    json.append('"');
  }
}
