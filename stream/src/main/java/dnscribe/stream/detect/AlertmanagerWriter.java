package dnscribe.stream.detect;

import com.fasterxml.jackson.annotation.JsonAutoDetect;
import com.fasterxml.jackson.annotation.PropertyAccessor;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import dnscribe.stream.config.Alertmanager;
import dnscribe.stream.kafka.OutputRecord;
import dnscribe.stream.ledger.CountingOperator;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Posts alerts to every Alertmanager, and again while they fire. It never makes the job wait: while
 * none accepts them, the newest record of each alert waits in the job's state.
 *
 * <p>A record is counted once it is settled: written when an Alertmanager has accepted it, dropped
 * when all refuse it for good ({@code rejected}), when it is older than an hour ({@code old}: a
 * replay must page nobody), or when too many alerts wait ({@code overflow}).
 */
final class AlertmanagerWriter extends CountingOperator<OutputRecord, Void> {
  private static final Logger LOG = LoggerFactory.getLogger(AlertmanagerWriter.class);
  private static final int RECORDS = 0;
  private static final int WRITTEN = 1;
  private static final int REJECTED = 2;
  private static final int OLD = 3;
  private static final int OVERFLOW = 4;
  private static final int MAX_POSTED = 256;
  private static final long TICK_MS = 500;
  private static final long FIRST_PAUSE_MS = 1_000;
  private static final long LAST_PAUSE_MS = 30_000;
  private static final Duration OLDEST = Duration.ofHours(1);

  /** Alertmanager considers an alert over that was not sent again for so many intervals. */
  private static final int EXPIRY = 4;

  private static final ObjectMapper JSON =
      JsonMapper.builder()
          .visibility(PropertyAccessor.FIELD, JsonAutoDetect.Visibility.PUBLIC_ONLY)
          .build();

  /** What an Alertmanager answered. */
  private enum Answer {
    ACCEPTED,
    REFUSED,
    AWAY
  }

  private final Alertmanager settings;
  private transient HttpClient client;
  private transient AlertmanagerState alerts;
  private transient ListState<byte[]> state;
  private transient List<String> posted;
  private transient CompletableFuture<Answer> answer;
  private transient long pause;
  private transient long pausedUntil;

  AlertmanagerWriter(Alertmanager settings) {
    super(
        "alertmanager",
        "output/alertmanager/records",
        "output/alertmanager/written",
        "output/alertmanager/dropped/rejected",
        "output/alertmanager/dropped/old",
        "output/alertmanager/dropped/overflow");
    this.settings = settings;
  }

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    state =
        context
            .getOperatorStateStore()
            .getListState(
                new ListStateDescriptor<>(
                    "alerts", PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO));
    alerts = new AlertmanagerState();
    for (byte[] json : state.get()) {
      alerts = JSON.readValue(json, AlertmanagerState.class);
    }
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    state.update(List.of(JSON.writeValueAsBytes(alerts)));
  }

  @Override
  public void open() throws Exception {
    super.open();
    client = HttpClient.newBuilder().connectTimeout(settings.timeout()).build();
    var metrics = getMetricGroup().addGroup("alertmanager");
    metrics.gauge("waiting", () -> alerts.waiting());
    metrics.gauge("firing", () -> alerts.firing());
    setTimer();
  }

  @Override
  public void processElement(StreamRecord<OutputRecord> element) throws Exception {
    JsonNode record = JSON.readTree(element.getValue().value());
    long now = getProcessingTimeService().getCurrentProcessingTime();
    Instant time = Instant.parse(record.path("ts").asText());
    if (time.plus(OLDEST).isBefore(Instant.ofEpochMilli(now))) {
      count(RECORDS, 1);
      count(OLD, 1);
    } else if (!alerts.add(record, now)) {
      count(RECORDS, 1);
      count(OVERFLOW, 1);
    }
  }

  /** The answer that is not taken yet, or null. */
  CompletableFuture<?> answer() {
    return answer;
  }

  private void setTimer() {
    var clock = getProcessingTimeService();
    var unused =
        clock.registerTimer(
            clock.getCurrentProcessingTime() + TICK_MS,
            time -> {
              tick(clock.getCurrentProcessingTime());
              setTimer();
            });
  }

  /** Takes the answer of the last request, and sends the next. */
  private void tick(long now) throws IOException {
    if (answer != null) {
      if (!answer.isDone()) {
        return;
      }
      settle(answer.join(), now);
      answer = null;
    }
    if (now < pausedUntil) {
      return;
    }
    posted = alerts.due(now, MAX_POSTED);
    if (!posted.isEmpty()) {
      answer = post(body(now));
    }
  }

  private void settle(Answer result, long now) {
    switch (result) {
      case ACCEPTED -> {
        pause = 0;
        long settled = alerts.markSent(posted, now, settings.resend());
        count(RECORDS, settled);
        count(WRITTEN, settled);
      }
      case REFUSED -> {
        long lost = alerts.remove(posted);
        count(RECORDS, lost);
        count(REJECTED, lost);
      }
      case AWAY -> {
        pause = pause == 0 ? FIRST_PAUSE_MS : Math.min(2 * pause, LAST_PAUSE_MS);
        pausedUntil = now + pause;
      }
    }
  }

  private byte[] body(long now) throws IOException {
    ArrayNode list = JSON.createArrayNode();
    for (String key : posted) {
      AlertmanagerState.Held held = alerts.send(key);
      long until = held.ended == null ? now + EXPIRY * settings.resend().toMillis() : held.ended;
      list.add(AlertmanagerPayload.of(held.record, Instant.ofEpochMilli(until), settings));
    }
    return JSON.writeValueAsBytes(list);
  }

  /** Posts to every Alertmanager: a cluster exchanges notifications, but not alerts. */
  private CompletableFuture<Answer> post(byte[] body) throws IOException {
    String authorization = settings.authorization();
    List<CompletableFuture<Answer>> answers = new ArrayList<>();
    for (String url : settings.urls()) {
      HttpRequest.Builder request =
          HttpRequest.newBuilder(URI.create(url.replaceAll("/+$", "") + "/api/v2/alerts"))
              .timeout(settings.timeout())
              .header("Content-Type", "application/json")
              .POST(HttpRequest.BodyPublishers.ofByteArray(body));
      if (authorization != null) {
        request.header("Authorization", authorization);
      }
      answers.add(
          client
              .sendAsync(request.build(), HttpResponse.BodyHandlers.ofString())
              .handle((response, error) -> judge(url, response, error)));
    }
    CompletableFuture<Answer> all = CompletableFuture.completedFuture(Answer.REFUSED);
    for (CompletableFuture<Answer> one : answers) {
      all = all.thenCombine(one, AlertmanagerWriter::best);
    }
    return all;
  }

  private static Answer best(Answer one, Answer other) {
    if (one == Answer.ACCEPTED || other == Answer.ACCEPTED) {
      return Answer.ACCEPTED;
    }
    return one == Answer.AWAY || other == Answer.AWAY ? Answer.AWAY : Answer.REFUSED;
  }

  private static Answer judge(String url, HttpResponse<String> response, Throwable error) {
    if (error != null) {
      Throwable cause = error instanceof CompletionException ? error.getCause() : error;
      LOG.warn("alertmanager: no answer from {}: {}; see alertmanager.urls", url, cause.toString());
      return Answer.AWAY;
    }
    int status = response.statusCode();
    if (status / 100 == 2) {
      return Answer.ACCEPTED;
    }
    LOG.warn("alertmanager: {} answers {}: {}", url, status, response.body());
    // Alertmanager's own errors about alerts are JSON; a proxy may answer 400 for other reasons.
    boolean isOwn = response.body().startsWith("\"") || response.body().startsWith("{");
    boolean isPermanent = status == 413 || ((status == 400 || status == 422) && isOwn);
    return isPermanent ? Answer.REFUSED : Answer.AWAY;
  }
}
