package dnscribe.stream.detect;

import dnscribe.stream.config.Detect;
import java.util.List;

/** All detectors. Their order is part of the state: new ones go to the end. */
final class Detectors {
  static final int RESOLVER = 0;
  static final int ZONE = 1;
  static final int ANSWER = 2;
  static final int DNSSEC = 3;
  static final int FANOUT = 4;
  static final int SOURCE = 5;
  static final int SITE = 6;

  private Detectors() {}

  static List<Detector> all(Detect settings) {
    return List.of(
        new ResolverDetector(settings),
        new ZoneDetector(settings),
        new AnswerDetector(settings),
        new DnssecDetector(settings),
        new FanoutDetector(settings),
        new SourceDetector(settings),
        new SiteDetector(settings));
  }
}
