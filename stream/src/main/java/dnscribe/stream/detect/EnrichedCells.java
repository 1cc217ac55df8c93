package dnscribe.stream.detect;

import dnscribe.stream.config.Detect;
import java.io.Serializable;
import java.util.List;
import java.util.TreeSet;
import java.util.function.Consumer;

/** Makes the cells of a {@code dns.enriched/1}. */
final class EnrichedCells implements Serializable {
  private final boolean privateClients;
  private final List<Detector> detectors;

  EnrichedCells(Detect settings) {
    privateClients = settings.privateClients();
    detectors = Detectors.all(settings);
  }

  void of(EnrichedRecord record, Consumer<Cell> cells) {
    if (record.vantage == null || record.node == null) {
      return;
    }
    // At the client, the client is the node itself.
    boolean serves = !record.vantage.equals("client");
    if (serves && record.clientIp != null) {
      String prefix = Networks.client(record.clientIp, privateClients);
      if (prefix != null) {
        cells.accept(cell(record, Detectors.FANOUT, prefix, record.node, 1));
      }
    }
    if (record.zone == null || record.qname == null || record.qtype == null) {
      return;
    }
    if (serves && record.country != null) {
      String name = SourceDetector.COUNTRY + record.country;
      cells.accept(cell(record, Detectors.SOURCE, record.zone, name, 1));
    }
    if (serves && record.asn != null) {
      String name = SourceDetector.NETWORK + record.asn;
      cells.accept(cell(record, Detectors.SOURCE, record.zone, name, 1));
    }
    if ("answered".equals(record.status) && record.rcode != null) {
      answers(record, cells);
      dnssec(record, cells);
    }
  }

  private void answers(EnrichedRecord record, Consumer<Cell> cells) {
    boolean asksForAddresses = record.qtype.equals("A") || record.qtype.equals("AAAA");
    if (!asksForAddresses || record.hidesAnswers) {
      return;
    }
    String entity = AnswerDetector.entity(record.zone, record.qname, record.qtype);
    if (record.addresses.isEmpty()) {
      if (record.rcode.equals("NXDOMAIN") || record.rcode.equals("NOERROR")) {
        String name = AnswerDetector.name(record.site(), AnswerDetector.NOTHING, "");
        cells.accept(cell(record, Detectors.ANSWER, entity, name, 1, 0));
      }
      return;
    }
    // An answer counts once for each of its networks.
    TreeSet<String> names = new TreeSet<>();
    for (int i = 0; i < record.addresses.size(); i++) {
      String network = Networks.of(record.addresses.get(i));
      if (network != null) {
        String asn = i < record.networks.size() ? record.networks.get(i) : "";
        names.add(AnswerDetector.name(record.site(), network, asn));
      }
    }
    for (String name : names) {
      cells.accept(cell(record, Detectors.ANSWER, entity, name, 1, record.ttl));
    }
  }

  private void dnssec(EnrichedRecord record, Consumer<Cell> cells) {
    if (!record.dnssecOk || !record.vantage.equals("client") || record.resolver == null) {
      return;
    }
    boolean failed = record.rcode.equals("SERVFAIL");
    if (!failed && !record.rcode.equals("NOERROR") && !record.rcode.equals("NXDOMAIN")) {
      return;
    }
    long[] values = new long[DnssecDetector.COLUMNS];
    values[
            failed
                ? DnssecDetector.SERVFAIL
                : record.validated ? DnssecDetector.VALIDATED : DnssecDetector.PLAIN] =
        1;
    String entity = DnssecDetector.entity(record.zone, record.qname, record.qtype);
    cells.accept(cell(record, Detectors.DNSSEC, entity, record.resolver, values));
  }

  private Cell cell(
      EnrichedRecord record, int detector, String entity, String name, long... values) {
    long span = detectors.get(detector).spanMillis();
    return new Cell(detector, Math.floorDiv(record.time, span) * span, entity, name, values);
  }
}
