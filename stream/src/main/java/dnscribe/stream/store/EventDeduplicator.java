package dnscribe.stream.store;

import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.time.Duration;
import org.apache.flink.api.common.state.StateTtlConfig;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/** Lets the first record with an {@code event_id} pass, keyed by this id. */
final class EventDeduplicator extends CountingOperator<OutputRecord, OutputRecord> {
  private static final int UNIQUE = 0;
  private static final int DUPLICATES = 1;

  private final Duration remembered;
  private transient ValueState<Boolean> seen;

  EventDeduplicator(String topic, Duration remembered) {
    super("deduplicator-" + topic, "input/" + topic + "/unique", "input/" + topic + "/duplicates");
    this.remembered = remembered;
  }

  @Override
  public void open() throws Exception {
    super.open();
    ValueStateDescriptor<Boolean> descriptor = new ValueStateDescriptor<>("seen", Types.BOOLEAN);
    descriptor.enableTimeToLive(StateTtlConfig.newBuilder(remembered).build());
    seen = getRuntimeContext().getState(descriptor);
  }

  @Override
  public void processElement(StreamRecord<OutputRecord> element) throws Exception {
    if (seen.value() != null) {
      count(DUPLICATES, 1);
      return;
    }
    seen.update(true);
    count(UNIQUE, 1);
    output.collect(element);
  }
}
