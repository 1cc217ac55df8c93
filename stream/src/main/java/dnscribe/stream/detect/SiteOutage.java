package dnscribe.stream.detect;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;

/** Many zones that fail at one site only have one cause, and are one alert of the site. */
final class SiteOutage {
  /** Zones that fail at a site from which on the site is the cause. */
  private static final int ZONES = 5;

  private SiteOutage() {}

  static List<Finding> combine(List<Finding> findings) {
    Map<String, List<Finding>> sites = new TreeMap<>();
    for (Finding finding : findings) {
      if (finding.rule() == Rule.ZONE_FAILING_SITE) {
        String site = finding.entity().get("site") + "\t" + finding.entity().get("vantage");
        sites.computeIfAbsent(site, key -> new ArrayList<>()).add(finding);
      }
    }
    sites.values().removeIf(zones -> zones.size() < ZONES);
    List<Finding> combined = new ArrayList<>(findings);
    for (List<Finding> zones : sites.values()) {
      combined.removeAll(zones);
      combined.add(outage(zones));
    }
    return combined;
  }

  private static Finding outage(List<Finding> zones) {
    Finding first = zones.get(0);
    Map<String, String> entity = new TreeMap<>(first.entity());
    entity.remove("zone");
    Severity severity = first.severity();
    Finding merged = first;
    TreeSet<String> names = new TreeSet<>();
    for (Finding zone : zones) {
      merged = merged.merge(zone);
      names.add(zone.entity().get("zone"));
      severity = severity.compareTo(zone.severity()) < 0 ? zone.severity() : severity;
    }
    String summary =
        String.format(
            Locale.ROOT,
            "%d zones fail at %s only: %s…",
            names.size(),
            entity.get("site"),
            String.join(", ", new ArrayList<>(names).subList(0, 3)));
    return new Finding(
            first.end(),
            first.rule(),
            entity,
            severity,
            summary,
            List.of(Figure.of("zones", names.size(), ZONES)),
            merged.evidence())
        .with(Finding.ZONES, names);
  }
}
