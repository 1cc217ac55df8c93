package dnscribe.stream.store;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertTimeout;

import dnscribe.stream.config.TimescaleDbConfig;
import dnscribe.stream.kafka.OutputRecord;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.time.Duration;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;

class LedgerWriterTest {
  @Test
  void aServerThatDoesNotAnswerHoldsUpNoCheckpoint() throws Exception {
    try (ServerSocket server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      String url = "jdbc:postgresql://127.0.0.1:" + server.getLocalPort() + "/dns";
      var settings = new TimescaleDbConfig(url, null, null, null, null, null);
      try (var harness = new OneInputStreamOperatorTestHarness<>(new LedgerWriter(settings))) {
        harness.open();
        OutputRecord record =
            new OutputRecord("dns.stream.ledger/1", "enrich", "id", null, new byte[0]);
        harness.processElement(new StreamRecord<>(record));
        var unused = harness.snapshot(1, 1);
        assertTimeout(Duration.ofSeconds(5), () -> harness.notifyOfCompletedCheckpoint(1));
        try (Socket client = server.accept()) {
          assertThat(client.getInputStream().read()).isNotNegative();
          assertTimeout(Duration.ofSeconds(5), () -> harness.notifyOfCompletedCheckpoint(2));
        }
      }
    }
  }
}
