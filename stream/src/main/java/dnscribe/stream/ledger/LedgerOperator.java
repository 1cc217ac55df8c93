package dnscribe.stream.ledger;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.record.EventIds;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Set;
import java.util.TreeMap;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Adds up the counters of all subtasks and writes one {@code dns.stream.ledger/1} at each
 * checkpoint. It has one subtask. Its records reach the topic with the commit of their checkpoint,
 * so each completed checkpoint has one. That of a savepoint that fails, which does not restart the
 * job, is committed with the next checkpoint, as are the records that it speaks of.
 */
public final class LedgerOperator extends AbstractStreamOperator<OutputRecord>
    implements OneInputStreamOperator<Counts, OutputRecord> {
  private static final String SCHEMA = "dns.stream.ledger/1";
  private static final ObjectMapper JSON = new ObjectMapper();

  private final String job;

  /** Names of the operators whose counters it adds up. */
  private final Set<String> operators;

  /** Newest counters by operator and subtask. */
  private transient Map<String, Map<Integer, Counts>> newest;

  private transient ListState<Counts> state;

  /** What the job went on from; null once a record says so. */
  private transient ObjectNode restored;

  /** Creates the ledger of a job with these operators. */
  public LedgerOperator(String job, Set<String> operators) {
    this.job = job;
    this.operators = Set.copyOf(operators);
  }

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    newest = new TreeMap<>();
    state =
        context
            .getOperatorStateStore()
            .getListState(new ListStateDescriptor<>("newest", TypeInformation.of(Counts.class)));
    // Subtasks that had finished before a restart do not send theirs again.
    for (Counts counts : state.get()) {
      // What the job no longer has would be said to be written for ever.
      if (operators.contains(counts.operator())) {
        put(counts);
      }
    }
    // A job may go on from an older savepoint: what it counted until then is not counted twice.
    OptionalLong checkpoint = context.getRestoredCheckpointId();
    if (checkpoint.isPresent()) {
      restored = JSON.createObjectNode().put("checkpoint", checkpoint.getAsLong());
      restored.set("output", addSums(JSON.createObjectNode()).withObjectProperty("output"));
    }
  }

  @Override
  public void processElement(StreamRecord<Counts> element) {
    put(element.getValue());
  }

  private void put(Counts counts) {
    Map<Integer, Counts> subtasks =
        newest.computeIfAbsent(counts.operator(), key -> new TreeMap<>());
    // The parallelism has changed: the counters of former subtasks are in those of the new ones.
    subtasks.values().removeIf(other -> other.parallelism() != counts.parallelism());
    subtasks.put(counts.subtask(), counts);
  }

  @Override
  public void prepareSnapshotPreBarrier(long checkpoint) throws Exception {
    output.collect(new StreamRecord<>(record(checkpoint)));
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    List<Counts> all = new ArrayList<>();
    newest.values().forEach(subtasks -> all.addAll(subtasks.values()));
    state.update(all);
  }

  /** Adds the sums of all subtasks to an object, at their places. */
  private ObjectNode addSums(ObjectNode object) {
    Map<String, Long> sums = new TreeMap<>();
    for (Map<Integer, Counts> subtasks : newest.values()) {
      for (Counts counts : subtasks.values()) {
        counts
            .values()
            .forEach(
                (place, value) ->
                    sums.merge(place, value, (one, other) -> Counts.add(place, one, other)));
      }
    }
    for (Map.Entry<String, Long> sum : sums.entrySet()) {
      String[] place = sum.getKey().split("/", -1);
      ObjectNode parent = object;
      for (int i = 0; i < place.length - 1; i++) {
        parent = parent.withObjectProperty(place[i]);
      }
      parent.put(place[place.length - 1], sum.getValue());
    }
    return object;
  }

  private OutputRecord record(long checkpoint) throws Exception {
    String id = EventIds.of(job, getRuntimeContext().getJobInfo().getJobId(), checkpoint);
    ObjectNode ledger = JSON.createObjectNode();
    ledger.put("schema", SCHEMA);
    ledger.put("event_id", id);
    ledger.put("ts", Instant.now().toString());
    ledger.put("node", job);
    ledger.put("job", job);
    ledger.put("checkpoint", checkpoint);
    ledger.putObject("input");
    ledger.putObject("output");
    ledger.put("late", 0);
    addSums(ledger);
    // Topics that are read as tables, or that a job wrote, have no duplicates.
    for (var input : ledger.get("input")) {
      ObjectNode counters = (ObjectNode) input;
      if (!input.has("duplicates")) {
        counters.put("duplicates", 0);
      }
      if (!input.has("unique")) {
        long malformed = input.path("malformed").asLong();
        counters.put("unique", input.path("records").asLong() - malformed);
      }
    }
    ledger.put("balanced", balances(ledger));
    if (restored != null) {
      ledger.set("restored", restored);
      restored = null;
    }
    return new OutputRecord(
        SCHEMA, job, id, job.getBytes(StandardCharsets.UTF_8), JSON.writeValueAsBytes(ledger));
  }

  /** Returns whether identity 6 and the counters of each sink close. */
  private static boolean balances(ObjectNode ledger) {
    boolean balanced = true;
    for (var input : ledger.get("input")) {
      long settled =
          input.path("unique").asLong()
              + input.path("duplicates").asLong()
              + input.path("malformed").asLong();
      balanced &= input.path("records").asLong() == settled;
    }
    for (var output : ledger.get("output")) {
      long settled = output.path("written").asLong();
      for (var dropped : output.path("dropped")) {
        settled += dropped.asLong();
      }
      balanced &= output.path("records").asLong() == settled;
    }
    return balanced;
  }
}
