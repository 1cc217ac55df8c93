package dnscribe.stream.enrich;

import com.fasterxml.jackson.databind.ObjectMapper;
import dnscribe.stream.config.Config;
import dnscribe.stream.kafka.Topics;
import dnscribe.stream.record.MalformedException;
import dnscribe.stream.record.RecordChecker;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Tables of zones and indicators, and databases of places: once in each task manager, for all
 * subtasks of a job. A thread reads the compacted topics from their beginning and goes on with what
 * is added; it also reads the databases again when their files change. Nothing of it is in a
 * checkpoint: the topics are the state.
 */
final class ReferenceData {
  private static final Logger LOG = LoggerFactory.getLogger(ReferenceData.class);
  private static final Duration POLL = Duration.ofSeconds(1);
  private static final ObjectMapper JSON = new ObjectMapper();

  /** Those in use, by configuration. */
  private static final Map<Config, ReferenceData> SHARED = new HashMap<>();

  private final Config config;
  private final GeoDatabases geo;
  private final ZoneTable zones = new ZoneTable();
  private final IntelTable intel;
  private final Map<String, ReferenceTable> tables;
  private final Map<String, RecordChecker> schemas = new HashMap<>();
  private final CountDownLatch ready = new CountDownLatch(1);
  private final Thread thread;
  private int users;
  private volatile boolean stops;
  private volatile Exception failure;

  private ReferenceData(Config config) throws IOException {
    this.config = config;
    geo = new GeoDatabases(config.enrich().geo());
    intel = new IntelTable(config.enrich().maxIndicators());
    tables = new HashMap<>();
    if (config.enrich().tables().contains("zones")) {
      tables.put(config.kafka().topics().zones(), zones);
      schemas.put(config.kafka().topics().zones(), new RecordChecker("dns.zone/1"));
    }
    if (config.enrich().tables().contains("intel")) {
      tables.put(config.kafka().topics().intel(), intel);
      schemas.put(config.kafka().topics().intel(), new RecordChecker("dns.intel/1"));
    }
    thread = new Thread(this::run, "reference-data");
    thread.setDaemon(true);
    // The client's classes are in the job's jar.
    thread.setContextClassLoader(ReferenceData.class.getClassLoader());
    thread.start();
  }

  /**
   * Returns the data of a configuration once the topics have been read to where they ended when
   * this began: no record is enriched with half of a table. {@link #release} must follow.
   *
   * @throws IOException if a file or a topic cannot be read
   */
  static ReferenceData acquire(Config config) throws IOException, InterruptedException {
    ReferenceData data;
    synchronized (SHARED) {
      data = SHARED.get(config);
      if (data == null || data.failure != null) {
        data = new ReferenceData(config);
        SHARED.put(config, data);
      }
      data.users++;
    }
    try {
      data.ready.await();
      data.check();
      return data;
    } catch (IOException | InterruptedException error) {
      data.release();
      throw error;
    }
  }

  /** Ends one use; with the last one the thread ends. */
  void release() {
    synchronized (SHARED) {
      users--;
      if (users == 0) {
        SHARED.remove(config, this);
        stops = true;
        thread.interrupt();
      }
    }
  }

  /**
   * Checks that the tables are kept up to date.
   *
   * @throws IOException if they cannot be
   */
  void check() throws IOException {
    if (failure != null) {
      throw new IOException("enrich.tables: " + failure.getMessage(), failure);
    }
  }

  GeoDatabases geo() {
    return geo;
  }

  ZoneTable zones() {
    return zones;
  }

  IntelTable intel() {
    return intel;
  }

  private void run() {
    try {
      if (tables.isEmpty()) {
        ready.countDown();
        while (!stops) {
          Thread.sleep(POLL.toMillis());
          geo.reloadChanged();
        }
        return;
      }
      try (KafkaConsumer<byte[], byte[]> consumer = Topics.consumer(config.kafka())) {
        follow(consumer);
      }
    } catch (InterruptedException | org.apache.kafka.common.errors.InterruptException end) {
      LOG.debug("reference data: the last subtask has ended");
    } catch (Exception error) {
      LOG.error("reference data: cannot be read", error);
      failure = error;
    } finally {
      ready.countDown();
    }
  }

  private void follow(KafkaConsumer<byte[], byte[]> consumer) throws Exception {
    List<TopicPartition> partitions = partitions(consumer);
    consumer.assign(partitions);
    consumer.seekToBeginning(partitions);
    Map<TopicPartition, Long> ends = retry(() -> consumer.endOffsets(partitions));
    while (!stops) {
      for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
        apply(record);
      }
      geo.reloadChanged();
      if (ready.getCount() > 0
          && ends.entrySet().stream()
              .allMatch(end -> consumer.position(end.getKey()) >= end.getValue())) {
        LOG.info("reference data: {} zones, {} indicators", zones.size(), intel.size());
        ready.countDown();
      }
    }
  }

  private List<TopicPartition> partitions(KafkaConsumer<byte[], byte[]> consumer) throws Exception {
    List<TopicPartition> partitions = new ArrayList<>();
    Map<String, List<PartitionInfo>> topics = retry(consumer::listTopics);
    for (String topic : tables.keySet()) {
      List<PartitionInfo> found = topics.get(topic);
      if (found == null) {
        throw new IOException(
            "no topic "
                + topic
                + "; create it (dnscribe-stream.jar topics) or leave it out of enrich.tables");
      }
      found.forEach(one -> partitions.add(new TopicPartition(topic, one.partition())));
    }
    return partitions;
  }

  /** Applies a record. The job's reader of this topic makes a dead letter of a malformed one. */
  private void apply(ConsumerRecord<byte[], byte[]> record) {
    ReferenceTable table = tables.get(record.topic());
    try {
      if (record.value() == null) {
        table.remove(key(record.key()));
      } else {
        apply(table, schemas.get(record.topic()), record.key(), record.value());
      }
    } catch (MalformedException error) {
      LOG.debug("{}: {}", record.topic(), error.getMessage());
    }
  }

  /**
   * Checks a record and puts it into its table. Returns its key.
   *
   * @throws MalformedException if it does not fit its schema, or the table
   */
  static String apply(ReferenceTable table, RecordChecker schema, byte[] key, byte[] value)
      throws MalformedException {
    schema.check(value);
    String name = key(key);
    try {
      table.put(name, JSON.readTree(value));
      return name;
    } catch (IOException error) {
      throw new MalformedException("json", String.valueOf(error.getMessage()));
    } catch (RuntimeException error) {
      throw MalformedException.unreadable(error);
    }
  }

  private static String key(byte[] key) throws MalformedException {
    if (key == null) {
      throw new MalformedException("missing_field", "the record has no key");
    }
    return new String(key, StandardCharsets.UTF_8);
  }

  private interface Request<T> {
    T send();
  }

  /** Sends a request again while the brokers are away. */
  private <T> T retry(Request<T> request) throws InterruptedException {
    while (true) {
      try {
        return request.send();
      } catch (RetriableException error) {
        LOG.warn("reference data: no answer from Kafka: {}", error.getMessage());
        Thread.sleep(POLL.toMillis());
      }
    }
  }
}
