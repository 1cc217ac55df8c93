package dnscribe.stream.fleet;

import dnscribe.stream.fleet.NodeWindowParser.Draft;
import dnscribe.stream.job.RecordReader;
import dnscribe.stream.kafka.KafkaRecord;
import dnscribe.stream.record.MalformedException;
import dnscribe.stream.record.RecordSchema;
import dnscribe.stream.record.RecordSchema.Setter;
import java.util.Map;

/** Reads {@code dns.fleet/1}. The names of the nodes are not in the record. */
public final class FleetWindowParser implements RecordReader.Parser<FleetWindow> {
  private final RecordSchema<Draft> schema;

  /** Creates a parser. */
  public FleetWindowParser() {
    Map<String, Setter<Draft>> setters = NodeWindowParser.setters();
    setters.put("nodes", (window, json) -> window.nodes = json.getIntValue());
    setters.put("revision", (window, json) -> window.revision = json.getIntValue());
    setters.put("final", (window, json) -> window.isFinal = json.getBooleanValue());
    schema = RecordSchema.load(FleetRecord.SCHEMA, setters);
  }

  @Override
  public FleetWindow parse(KafkaRecord record) throws MalformedException {
    Draft draft = new Draft();
    schema.read(record.value(), draft);
    return new FleetWindow(
        draft.key(draft.region),
        draft.revision,
        draft.isFinal,
        NodeSet.ofSize(draft.nodes),
        draft.sums());
  }
}
