package dnscribe.stream.record;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import java.io.IOException;
import java.io.UncheckedIOException;

/** Reads single fields of records that have been checked. */
public final class JsonFields {
  private static final JsonFactory JSON = new JsonFactory();

  private JsonFields() {}

  /** Returns the text of a string or number on the first level; null if there is none. */
  public static String text(byte[] json, String name) {
    try (JsonParser parser = JSON.createParser(json)) {
      parser.nextToken();
      for (String key = parser.nextFieldName(); key != null; key = parser.nextFieldName()) {
        boolean isScalar = parser.nextToken().isScalarValue();
        if (isScalar && key.equals(name)) {
          return parser.getText();
        }
        parser.skipChildren();
      }
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    return null;
  }
}
