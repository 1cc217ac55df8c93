package dnscribe.stream.detect;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.List;

/** Fields of a {@code dns.enriched/1} that the detectors use, read in one pass over its bytes. */
final class EnrichedRecord {
  private static final JsonFactory JSON = new JsonFactory();
  private static final long DAY_MS = 86_400_000;

  long time;
  String node;
  String region;
  String vantage;
  String clientIp;
  String country;
  String asn;
  String resolver;
  String qname;
  String qtype;
  String zone;
  String status;
  String rcode;
  boolean validated;
  boolean dnssecOk;

  /** Whether the answers were left out by masking. */
  boolean hidesAnswers;

  /** Addresses of the answer section, and the AS of each: empty if unknown. */
  final List<String> addresses = new ArrayList<>();

  final List<String> networks = new ArrayList<>();
  long ttl;

  private String date = "";
  private long dateMs;

  /** Reads a record into this one, in place of the last. */
  void read(byte[] json) throws IOException {
    clear();
    try (JsonParser parser = JSON.createParser(json)) {
      parser.nextToken();
      for (String key = parser.nextFieldName(); key != null; key = parser.nextFieldName()) {
        JsonToken token = parser.nextToken();
        switch (key) {
          case "ts" -> time = time(parser.getText());
          case "node" -> node = parser.getText();
          case "region" -> region = parser.getText();
          case "vantage" -> vantage = parser.getText();
          case "client_ip" -> clientIp = parser.getText();
          case "resolver" -> resolver = parser.getText();
          case "qname" -> qname = parser.getText();
          case "qtype" -> qtype = parser.getText();
          case "zone" -> zone = parser.getText();
          case "status" -> status = parser.getText();
          case "rcode" -> rcode = parser.getText();
          case "flags" -> flags(parser);
          case "answers" -> answers(parser);
          case "edns" -> edns(parser);
          case "masking" -> masking(parser);
          case "client_geo" -> {
            String[] geo = geo(parser);
            country = geo[0];
            asn = geo[1];
          }
          case "answers_geo" -> {
            require(token, JsonToken.START_ARRAY, key);
            while (parser.nextToken() != JsonToken.END_ARRAY) {
              String[] geo = geo(parser);
              networks.add(geo[1] == null ? "" : geo[1]);
            }
          }
          default -> parser.skipChildren();
        }
      }
    }
  }

  /** Returns the site: the region, else the node. */
  String site() {
    return region == null ? node : region;
  }

  private void clear() {
    time = 0;
    ttl = Long.MAX_VALUE;
    node = region = vantage = clientIp = country = asn = resolver = null;
    qname = qtype = zone = status = rcode = null;
    validated = dnssecOk = hidesAnswers = false;
    addresses.clear();
    networks.clear();
  }

  /** Refuses a value of another type, in which nothing would end a loop over its parts. */
  private static void require(JsonToken found, JsonToken wanted, String key) throws IOException {
    if (found != wanted) {
      throw new IOException(key + ": not what the schema says");
    }
  }

  private void flags(JsonParser parser) throws IOException {
    require(parser.currentToken(), JsonToken.START_ARRAY, "flags");
    while (parser.nextToken() != JsonToken.END_ARRAY) {
      validated |= parser.getText().equals("ad");
    }
  }

  private void edns(JsonParser parser) throws IOException {
    require(parser.currentToken(), JsonToken.START_OBJECT, "edns");
    for (String key = parser.nextFieldName(); key != null; key = parser.nextFieldName()) {
      JsonToken token = parser.nextToken();
      dnssecOk |= key.equals("do") && token == JsonToken.VALUE_TRUE;
      parser.skipChildren();
    }
  }

  private void masking(JsonParser parser) throws IOException {
    require(parser.currentToken(), JsonToken.START_OBJECT, "masking");
    for (String key = parser.nextFieldName(); key != null; key = parser.nextFieldName()) {
      parser.nextToken();
      hidesAnswers |= key.equals("answers") && parser.getText().equals("drop");
    }
  }

  private void answers(JsonParser parser) throws IOException {
    require(parser.currentToken(), JsonToken.START_ARRAY, "answers");
    for (JsonToken token = parser.nextToken();
        token != JsonToken.END_ARRAY;
        token = parser.nextToken()) {
      require(token, JsonToken.START_OBJECT, "answers[]");
      String type = "";
      String data = "";
      long seconds = 0;
      for (String key = parser.nextFieldName(); key != null; key = parser.nextFieldName()) {
        parser.nextToken();
        switch (key) {
          case "type" -> type = parser.getText();
          case "data" -> data = parser.getText();
          case "ttl" -> seconds = parser.getLongValue();
          default -> parser.skipChildren();
        }
      }
      if (type.equals("A") || type.equals("AAAA")) {
        addresses.add(data);
        ttl = Math.min(ttl, seconds);
      }
    }
  }

  /** Returns country and AS number, each null if unknown. */
  private static String[] geo(JsonParser parser) throws IOException {
    String[] geo = new String[2];
    require(parser.currentToken(), JsonToken.START_OBJECT, "geo");
    for (String key = parser.nextFieldName(); key != null; key = parser.nextFieldName()) {
      parser.nextToken();
      switch (key) {
        case "country" -> geo[0] = parser.getText();
        case "asn" -> geo[1] = parser.getText();
        default -> parser.skipChildren();
      }
    }
    return geo;
  }

  /** Returns milliseconds since the epoch of a time such as 2026-01-31T10:00:00.123456789Z. */
  private long time(String text) {
    if (!text.startsWith(date) || date.isEmpty()) {
      date = text.substring(0, 10);
      dateMs = LocalDate.parse(date).toEpochDay() * DAY_MS;
    }
    long seconds = (two(text, 11) * 60 + two(text, 14)) * 60 + two(text, 17);
    long millis = 0;
    for (int i = 20, unit = 100; i < text.length() - 1 && unit > 0; i++, unit /= 10) {
      millis += (long) (text.charAt(i) - '0') * unit;
    }
    return dateMs + seconds * 1000 + millis;
  }

  private static long two(String text, int offset) {
    return (text.charAt(offset) - '0') * 10L + text.charAt(offset + 1) - '0';
  }
}
