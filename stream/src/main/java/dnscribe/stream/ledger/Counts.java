package dnscribe.stream.ledger;

import java.util.Map;

/**
 * Counters of one subtask since the job's beginning, as of a checkpoint.
 *
 * @param operator its name
 * @param subtask its index, of {@code parallelism}
 * @param values counters by their place in the ledger, such as {@code input/dns.normalized/unique}
 */
public record Counts(String operator, int subtask, int parallelism, Map<String, Long> values) {}
