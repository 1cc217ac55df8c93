package dnscribe.stream.fleet;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dnscribe.stream.Records;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.record.MalformedException;
import org.junit.jupiter.api.Test;

class FleetWindowParserTest {
  private static final FleetWindowParser PARSER = new FleetWindowParser();

  @Test
  void aRecordIsTheWindowThatWasWritten() throws Exception {
    for (int number = 0; number < Windows.goldens(); number++) {
      NodeWindow window = Windows.parse(Windows.golden(number));
      if (!NodeWindow.isMerged(window.key().grouping())) {
        continue;
      }
      boolean isOfNode = window.key().grouping().equals("node");
      WindowKey key = isOfNode ? window.key().regroup("region", "eu") : window.key();
      NodeSet nodes = new NodeSet();
      nodes.add("a");
      nodes.add("b");
      FleetWindow written = new FleetWindow(key, 3, true, nodes, window.sums());
      byte[] json = FleetRecord.of(written).value();
      FleetWindow read = PARSER.parse(new KafkaRecord("dns.fleet", 0, 0, 0, null, json));
      assertThat(read.key()).isEqualTo(key);
      assertThat(read.eventId()).isEqualTo(written.eventId());
      assertThat(Records.text(FleetRecord.of(read).value())).isEqualTo(Records.text(json));
    }
  }

  @Test
  void otherRecordsAreRefused() {
    byte[] json = Windows.golden(0).toString().getBytes(java.nio.charset.StandardCharsets.UTF_8);
    assertThatThrownBy(() -> PARSER.parse(new KafkaRecord("t", 0, 0, 0, null, json)))
        .isInstanceOf(MalformedException.class);
  }

  @Test
  void ofNodesWithoutNamesTheLargerNumberCounts() {
    NodeSet nodes = NodeSet.ofSize(3);
    nodes.addAll(NodeSet.ofSize(2));
    nodes.addAll(NodeSet.ofSize(5));
    assertThat(nodes.size).isEqualTo(5);
  }
}
