package dnscribe.stream.enrich;

import com.fasterxml.jackson.databind.JsonNode;
import dnscribe.stream.record.MalformedException;

/** The newest records of a compacted topic by key. One thread changes it, others read it. */
interface ReferenceTable {
  /**
   * Sets the record of a key.
   *
   * @throws MalformedException if its schema does not tell all that is wrong with it
   */
  void put(String key, JsonNode record) throws MalformedException;

  /** Removes the record of a key. */
  void remove(String key);

  /** Number of keys. */
  int size();
}
