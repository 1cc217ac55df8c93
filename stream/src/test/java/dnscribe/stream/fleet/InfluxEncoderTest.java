package dnscribe.stream.fleet;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.Records;
import dnscribe.stream.Savepoints;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import dnscribe.stream.ledger.Counts;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;

class InfluxEncoderTest {
  private static final long START = 1_800_000_000_000L;
  private static final Pattern TRANSACTIONS = Pattern.compile("[ ,]transactions=(\\d+)i");

  @Test
  void zonesBeyondTheLimitAreOneSeriesAlsoAfterARestart() throws Exception {
    List<String> points = new ArrayList<>();
    OperatorSubtaskState state;
    try (var harness = encoder()) {
      harness.open();
      for (int zone = 0; zone < 4; zone++) {
        harness.processElement(new StreamRecord<>(window("zone", "z" + zone + ".com", 100, true)));
      }
      harness.processElement(new StreamRecord<>(window("zone", null, 7, true)));
      state = harness.snapshot(1, 1);
      points.addAll(points(harness));
    }
    try (var harness = encoder()) {
      harness.initializeState(state);
      harness.open();
      // A window that is not final yet is not part of the sum: it would be counted twice.
      harness.processElement(new StreamRecord<>(window("zone", "z7.com", 5, false)));
      harness.processElement(new StreamRecord<>(window("zone", "z8.com", 3, true)));
      harness.prepareSnapshotPreBarrier(2);
      points.addAll(points(harness));
    }
    Map<String, Long> sums = sums(points);
    assertThat(sums)
        .isEqualTo(
            Map.of(
                "dns_fleet,grouping=zone,step=10s,vantage=client,window=10s,zone=z0.com", 100L,
                "dns_fleet,grouping=zone,step=10s,vantage=client,window=10s,zone=z1.com", 100L,
                "dns_fleet,grouping=zone,other=true,step=10s,vantage=client,window=10s", 210L));
  }

  /** One partition is a day behind the other: both have windows of the same point. */
  @Test
  void partitionsThatAreReadLaterDoNotReplaceSums() throws Exception {
    OperatorSubtaskState state;
    try (var harness = encoder()) {
      harness.open();
      // They take the two places.
      harness.processElement(new StreamRecord<>(window("zone", "z0.com", 1, true)));
      harness.processElement(new StreamRecord<>(window("zone", "z1.com", 1, true)));
      harness.processElement(new StreamRecord<>(window("zone", "z2.com", 40, true)));
      harness.prepareSnapshotPreBarrier(1);
      long ahead = START + Duration.ofDays(1).toMillis();
      harness.processElement(new StreamRecord<>(window("zone", "z2.com", 50, true, ahead)));
      harness.prepareSnapshotPreBarrier(2);
      harness.processWatermark(START + Duration.ofMinutes(30).toMillis());
      harness.processElement(new StreamRecord<>(window("zone", "z3.com", 60, true)));
      harness.prepareSnapshotPreBarrier(3);
      String other = "dns_fleet,grouping=zone,other=true,step=10s,vantage=client,window=10s";
      assertThat(sums(points(harness))).containsEntry(other, 100L);

      // No partition has more: what comes nevertheless is late, and replaces nothing.
      harness.processWatermark(START + Duration.ofHours(2).toMillis());
      harness.prepareSnapshotPreBarrier(4);
      int points = points(harness).size();
      harness.processElement(new StreamRecord<>(window("zone", "z4.com", 70, true)));
      harness.prepareSnapshotPreBarrier(5);
      assertThat(points(harness)).hasSize(points);
      List<Counts> counts = new ArrayList<>();
      harness.getSideOutput(CountingOperator.COUNTS).forEach(c -> counts.add(c.getValue()));
      assertThat(counts)
          .extracting(c -> c.values().get("late"))
          .containsExactly(0L, 0L, 0L, 0L, 1L);
      state = harness.snapshot(5, 1);
    }
    // Also while no partition has said how far it is.
    for (OperatorSubtaskState restored : Savepoints.withKept("influx-encoder", state)) {
      try (var harness = encoder()) {
        harness.initializeState(restored);
        harness.open();
        harness.processElement(new StreamRecord<>(window("zone", "z5.com", 80, true)));
        harness.prepareSnapshotPreBarrier(6);
        assertThat(points(harness)).isEmpty();
      }
    }
  }

  @Test
  void sumsWithPartsBeforeTheBeginAreNotWritten() throws Exception {
    try (var harness = encoder(START + 20_000)) {
      harness.open();
      for (long start : new long[] {START, START + 10_000}) {
        harness.processElement(new StreamRecord<>(window("zone", null, 5, true, start)));
      }
      harness.prepareSnapshotPreBarrier(1);
      assertThat(points(harness)).singleElement().asString().endsWith(" " + (START + 10_000));
    }
  }

  @Test
  void addressesAreNotTags() throws Exception {
    try (var harness = encoder()) {
      harness.open();
      for (String resolver : new String[] {"192.0.2.53", "2001:db8::53", "corp, east"}) {
        harness.processElement(new StreamRecord<>(window("resolver", resolver, 10, true)));
      }
      harness.prepareSnapshotPreBarrier(1);
      assertThat(sums(points(harness)))
          .isEqualTo(
              Map.of(
                  "dns_fleet,grouping=resolver,resolver=corp\\,\\ east,step=10s,vantage=client,"
                      + "window=10s",
                  10L,
                  "dns_fleet,grouping=resolver,other=true,step=10s,vantage=client,window=10s",
                  20L));
    }
  }

  @Test
  void typesBeyondTheLimitAreOneSeries() throws Exception {
    try (var harness = encoder()) {
      harness.open();
      for (String type : new String[] {"A", "AAAA", "TYPE65280", "TYPE65281"}) {
        harness.processElement(new StreamRecord<>(window("qtype", type, 10, true)));
      }
      harness.prepareSnapshotPreBarrier(1);
      String series = "dns_fleet,grouping=qtype,%sstep=10s,vantage=client,window=10s";
      assertThat(sums(points(harness)))
          .isEqualTo(
              Map.of(
                  series.formatted("qtype=A,"), 10L,
                  series.formatted("qtype=AAAA,"), 10L,
                  series.formatted("other=true,"), 20L));
    }
  }

  /** A point keeps the fields that a later one of its series and time leaves out. */
  @Test
  void onlyLastPointsHaveWhatMayBecomeUnknown() throws Exception {
    try (var harness = encoder()) {
      harness.open();
      harness.processElement(new StreamRecord<>(window("all", null, 1, false)));
      harness.processElement(new StreamRecord<>(window("all", null, 2, true)));
      harness.processElement(new StreamRecord<>(window("zone", null, 3, true)));
      harness.prepareSnapshotPreBarrier(1);
      harness.processWatermark(START + Duration.ofHours(2).toMillis());
      harness.prepareSnapshotPreBarrier(2);
      harness.prepareSnapshotPreBarrier(3);
      assertThat(points(harness))
          .extracting(
              point -> point.contains("unique_qnames=") + " " + point.contains("final=true"))
          .containsExactly("false false", "true true", "false true", "true true");
    }
  }

  @Test
  void theHeaviestValuesTakeThePlacesOfOthers() {
    TagSet set = new TagSet();
    assertThat(set.admits("first", 0, 1)).isTrue();
    assertThat(set.admits("second", 0, 1)).isFalse();
    set.add("first", 1, 1);
    for (int i = 0; i < 5; i++) {
      set.add("other" + i, 50, 1);
    }
    set.add("heavy", 1000, 1);
    TagSet restored = set.snapshot();
    restored.change(10, 1);
    assertThat(restored.admits("heavy", 10, 1)).isTrue();
    assertThat(restored.admits("first", 10, 1)).isFalse();
    assertThat(restored.admits("first", 9, 1)).isTrue();
  }

  private static OneInputStreamOperatorTestHarness<FleetWindow, OutputRecord> encoder()
      throws Exception {
    return encoder(Long.MIN_VALUE);
  }

  private static OneInputStreamOperatorTestHarness<FleetWindow, OutputRecord> encoder(long beginMs)
      throws Exception {
    return new OneInputStreamOperatorTestHarness<>(new InfluxEncoder(2, beginMs));
  }

  private static FleetWindow window(String grouping, String value, long transactions, boolean last)
      throws Exception {
    return window(grouping, value, transactions, last, START);
  }

  private static FleetWindow window(
      String grouping, String value, long transactions, boolean last, long startMs)
      throws Exception {
    ObjectNode json = Windows.node("n", START, 1).put("transactions", transactions);
    WindowSums sums = Windows.parse(json).sums();
    WindowKey key =
        new WindowKey(
            startMs,
            10,
            10,
            grouping,
            "client",
            null,
            grouping.equals("resolver") ? value : null,
            grouping.equals("zone") ? value : null,
            grouping.equals("qtype") ? value : null,
            value == null);
    return new FleetWindow(key, 0, last, new NodeSet(), sums);
  }

  private static List<String> points(
      OneInputStreamOperatorTestHarness<FleetWindow, OutputRecord> harness) {
    return harness.extractOutputValues().stream().map(p -> Records.text(p.value())).toList();
  }

  /** Returns the transactions of the newest point of each series; InfluxDB keeps this one. */
  private static Map<String, Long> sums(List<String> points) {
    Map<String, Long> sums = new HashMap<>();
    for (String point : points) {
      Matcher found = TRANSACTIONS.matcher(point);
      assertThat(found.find()).isTrue();
      String series = point.substring(0, point.indexOf(" nodes="));
      sums.put(series, Long.parseLong(found.group(1)));
    }
    return sums;
  }
}
