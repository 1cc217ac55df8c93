package dnscribe.stream.detect;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.Stream;

/** Makes the cells of a {@code dns.probe/1}: what a site sees of a target. */
final class SiteCells {
  /** Most answers of a record that are shown. */
  private static final int SHOWN = 3;

  private SiteCells() {}

  /**
   * Makes the cells of a record.
   *
   * @throws IOException if a text has control characters, which separate names in the job's state
   */
  static void of(JsonNode record, long time, Consumer<Cell> cells) throws IOException {
    String service = record.path("service").asText();
    String site = record.path("site").asText();
    // A measurement that an alert or a person asked for is one of another time.
    if (service.isEmpty() || site.isEmpty() || record.hasNonNull("triggered_by")) {
      return;
    }
    String target = record.path("kind").asText() + " " + record.path("target").asText();
    long start = Math.floorDiv(time, SiteDetector.SPAN) * SiteDetector.SPAN;
    boolean isOk = record.path("ok").asBoolean();
    JsonNode error = record.path("error");
    String reason = isOk ? "" : error.path("stage").asText() + " " + error.path("reason").asText();
    List<Cell> made = new ArrayList<>();
    made.add(cell(start, service, target, site, SiteDetector.REACHED, reason, "", isOk ? 0 : 1));
    String digest = record.path("answer_digest").asText();
    if (isOk && !digest.isEmpty()) {
      long ttl = record.path("min_ttl_seconds").asLong();
      String shown = answers(record);
      made.add(cell(start, service, target, site, SiteDetector.ANSWERS, digest, shown, ttl));
    }
    String certificate = record.path("cert").path("sha256").asText();
    if (!certificate.isEmpty()) {
      String until = record.path("cert").path("not_after").asText();
      String shown = certificate.substring(0, Math.min(8, certificate.length()));
      shown += until.length() < 10 ? "" : " (until " + until.substring(0, 10) + ")";
      String aspect = SiteDetector.CERTIFICATE;
      made.add(cell(start, service, target, site, aspect, certificate, shown, 0));
    }
    made.forEach(cells);
  }

  private static String answers(JsonNode record) {
    JsonNode answers = record.path("answers");
    if (answers.isEmpty()) {
      return record.path("rcode").asText();
    }
    List<String> shown = new ArrayList<>();
    answers.forEach(answer -> shown.add(answer.asText()));
    long more = record.path("answer_count").asLong(shown.size()) - SHOWN;
    String text = String.join(", ", shown.subList(0, Math.min(SHOWN, shown.size())));
    return more > 0 ? text + " and " + more + " more" : text;
  }

  private static Cell cell(
      long start,
      String service,
      String target,
      String site,
      String aspect,
      String value,
      String shown,
      long second)
      throws IOException {
    if (Stream.of(service, target, site, value, shown)
        .anyMatch(text -> text.chars().anyMatch(Character::isISOControl))) {
      throw new IOException("a control character in a name");
    }
    String name = Cell.join(target, site, aspect, value, shown);
    return new Cell(Detectors.SITE, start, service, name, new long[] {1, second});
  }
}
