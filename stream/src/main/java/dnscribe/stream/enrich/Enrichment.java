package dnscribe.stream.enrich;

import dnscribe.stream.record.CheckedRecord;
import dnscribe.stream.record.MalformedException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Objects;
import java.util.Set;

/**
 * Makes the {@code dns.enriched/1} of a transaction. The text of the transaction's fields is copied
 * as it is, so that no field changes on the way; what is added follows it.
 */
final class Enrichment {
  /** Schema of the records. */
  static final String SCHEMA = "dns.enriched/1";

  /** Fields that it adds. */
  static final Set<String> FIELDS =
      Set.of("client_geo", "server_geo", "answers_geo", "zone_meta", "intel", "name");

  private static final byte[] SCHEMA_JSON = ('"' + SCHEMA + '"').getBytes(StandardCharsets.UTF_8);

  /**
   * Addresses and names that are remembered with what was found out about them, a power of two: 8
   * MB each.
   */
  private static final int REMEMBERED = 32_768;

  /** Characters of a name that is remembered. Longer ones are rare. */
  private static final int LONGEST = 255;

  /** Stands for a text that is no address. */
  private static final Located NO_ADDRESS = new Located("", null, GeoDatabases.UNKNOWN);

  private final GeoDatabases geo;
  private final ZoneTable zones;
  private final IntelTable intel;

  /** By the hash of the address as text; the newest of those with equal hashes. */
  private final Located[] located = new Located[REMEMBERED];

  /** By the hash of name and zone; the newest of those with equal hashes. */
  private final Named[] named = new Named[REMEMBERED];

  private final ByteArrayOutputStream out = new ByteArrayOutputStream(4096);
  private final StringBuilder text = new StringBuilder();
  private int generation;

  /**
   * An address and what the databases say about it.
   *
   * @param geo as a JSON object
   */
  private record Located(String ip, Address address, byte[] geo) {}

  /**
   * A name and what it looks like.
   *
   * @param zone its registrable domain, or null
   * @param json what describes it in the record, with a comma before it
   */
  private record Named(String qname, String zone, byte[] json) {}

  Enrichment(GeoDatabases geo, ZoneTable zones, IntelTable intel) {
    this.geo = geo;
    this.zones = zones;
    this.intel = intel;
  }

  /**
   * Returns the enriched record as JSON.
   *
   * @throws MalformedException if what is added would not fit its schema
   * @throws IOException if a database cannot be read, which is no fault of the record
   */
  byte[] enrich(CheckedRecord record) throws IOException, MalformedException {
    byte[] json = record.json();
    out.reset();
    out.write(json, 0, record.schemaStart());
    out.writeBytes(SCHEMA_JSON);
    out.write(json, record.schemaEnd(), record.end() - record.schemaEnd());
    if (!geo.isEmpty()) {
      appendGeo(record);
    }
    byte[] zone = record.qname() == null ? null : zones.find(record.qname());
    if (zone != null) {
      append(",\"zone_meta\":");
      out.writeBytes(zone);
    }
    if (intel.size() > 0) {
      appendIntel(record);
    }
    // A pseudonym would look like a tunnel's name.
    if (record.qname() != null && record.masking().qname() == null) {
      out.writeBytes(describe(record.qname(), record.zone()).json);
    }
    out.write('}');
    return out.toByteArray();
  }

  private void appendGeo(CheckedRecord record) throws IOException {
    if (generation != geo.generation()) {
      generation = geo.generation();
      Arrays.fill(located, null);
    }
    appendGeo(",\"client_geo\":", record.clientIp());
    appendGeo(",\"server_geo\":", record.serverIp());
    String separator = ",\"answers_geo\":[";
    for (CheckedRecord.Answer answer : record.answers()) {
      if (isAddress(answer)) {
        append(separator);
        out.writeBytes(locate(answer.data()).geo);
        separator = ",";
      }
    }
    if (separator.equals(",")) {
      out.write(']');
    }
  }

  private void appendGeo(String field, String address) throws IOException {
    byte[] geo = address == null ? GeoDatabases.UNKNOWN : locate(address).geo;
    if (geo != GeoDatabases.UNKNOWN) {
      append(field);
      out.writeBytes(geo);
    }
  }

  private void appendIntel(CheckedRecord record) throws IOException {
    text.setLength(0);
    Set<String> found = new HashSet<>();
    IntelTable.Matches matches =
        (indicator, details) -> {
          if (found.add(indicator)) {
            text.append(text.isEmpty() ? ",\"intel\":[" : ",").append("{\"indicator\":");
            JsonText.appendQuoted(text, indicator);
            text.append(details).append('}');
          }
        };
    if (record.qname() != null) {
      intel.findName(record.qname(), record.ts(), matches);
    }
    for (CheckedRecord.Answer answer : record.answers()) {
      if (isAddress(answer)) {
        findAddress(answer.data(), record.masking().answers(), record.ts(), matches);
      } else {
        String name = Names.target(answer);
        if (name != null) {
          intel.findName(name, record.ts(), matches);
        }
      }
    }
    findAddress(record.clientIp(), record.masking().client(), record.ts(), matches);
    findAddress(record.serverIp(), record.masking().server(), record.ts(), matches);
    if (!found.isEmpty()) {
      append(text.append(']'));
    }
  }

  private void findAddress(String ip, String masking, String ts, IntelTable.Matches matches)
      throws IOException {
    boolean isTruncated = "truncate".equals(masking);
    Located found = ip == null || (masking != null && !isTruncated) ? NO_ADDRESS : locate(ip);
    if (found.address != null) {
      int bits = isTruncated ? found.address.truncatedBits() : 128;
      intel.findAddress(found.address, bits, ts, matches);
    }
  }

  private static boolean isAddress(CheckedRecord.Answer answer) {
    return answer.type().equals("A") || answer.type().equals("AAAA");
  }

  private Located locate(String ip) throws IOException {
    int place = place(ip.hashCode());
    Located known = located[place];
    if (known == null || !known.ip.equals(ip)) {
      Address address = Address.parse(ip);
      known = address == null ? NO_ADDRESS : new Located(ip, address, geo.locate(address));
      located[place] = known;
    }
    return known;
  }

  private Named describe(String qname, String zone) throws MalformedException {
    int place = place(31 * qname.hashCode() + Objects.hashCode(zone));
    Named known = named[place];
    if (known == null || !known.qname.equals(qname) || !Objects.equals(known.zone, zone)) {
      NameStatistics statistics = NameStatistics.of(qname, zone);
      if (!statistics.isOfName()) {
        throw new MalformedException("field", "too many labels, or one too long, at /qname");
      }
      text.setLength(0);
      statistics.append(text, NameClass.of(qname, zone));
      known = new Named(qname, zone, text.toString().getBytes(StandardCharsets.UTF_8));
      if (qname.length() <= LONGEST && (zone == null || zone.length() <= LONGEST)) {
        named[place] = known;
      }
    }
    return known;
  }

  private static int place(int hash) {
    return (hash ^ hash >>> 16) & (REMEMBERED - 1);
  }

  private void append(CharSequence json) {
    out.writeBytes(json.toString().getBytes(StandardCharsets.UTF_8));
  }
}
