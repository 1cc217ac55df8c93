package dnscribe.stream.fleet;

import java.util.List;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.OperatorStateStore;
import org.apache.flink.api.common.typeinfo.Types;

/**
 * A time up to which all subtasks of an operator had come before a restart. Flink keeps no
 * watermarks: until the first one after a restart, only this says which windows were final.
 */
final class KeptMinimum {
  private final ListState<Long> state;

  /** The smallest time of all subtasks; {@link Long#MIN_VALUE} if none is known. */
  private final long restored;

  KeptMinimum(OperatorStateStore store, String name) throws Exception {
    state = store.getUnionListState(new ListStateDescriptor<>(name, Types.LONG));
    long least = Long.MAX_VALUE;
    for (long one : state.get()) {
      least = Math.min(least, one);
    }
    restored = least == Long.MAX_VALUE ? Long.MIN_VALUE : least;
  }

  /** Returns the later of a time and the one that was restored. */
  long orLater(long timeMs) {
    return Math.max(timeMs, restored);
  }

  /** Stores a time of this subtask. The end of a bounded topic is no time. */
  void update(long timeMs) throws Exception {
    state.update(List.of(timeMs == Long.MAX_VALUE ? restored : orLater(timeMs)));
  }
}
