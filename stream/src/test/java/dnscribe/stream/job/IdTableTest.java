package dnscribe.stream.job;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;

class IdTableTest {
  private static final int REMEMBERED = 4;

  /** Random adds of few ids over many periods, compared with a map from ids to periods. */
  @Test
  void agreesWithAMap() {
    Random random = new Random(1);
    Map<Long, Long> model = new HashMap<>();
    long[] table = IdTable.create();
    for (int i = 0; i < 200_000; i++) {
      long period = 40_000L + i / 1000;
      // Half of them differ in the high half only.
      long number = random.nextInt(5000);
      long high = number % 2 << 20;
      long low = number / 2 * 0x1234_5678_9ABCL;
      Long known = model.get(number);
      boolean isNew = known == null || period - known > REMEMBERED;
      long[] result = IdTable.add(table, high, low, period, REMEMBERED);
      assertThat(result != null).isEqualTo(isNew);
      if (isNew) {
        model.put(number, period);
        table = result;
      }
    }
  }

  /** A clock that is set back, or a slower partition, makes no id old. */
  @Test
  void idsAreKnownWhenTimeGoesBack() {
    long[] table = IdTable.add(IdTable.create(), 1, 1, 100, REMEMBERED);
    assertThat(IdTable.add(table, 1, 1, 99, REMEMBERED)).isNull();
    assertThat(IdTable.add(table, 1, 1, 1, REMEMBERED)).isNull();
    assertThat(IdTable.add(table, 1, 1, 100 + REMEMBERED + 1, REMEMBERED)).isNotNull();
    assertThat(IdTable.add(table, 1, 1, 9_000, IdTable.FOR_EVER)).isNull();
  }

  @Test
  void expiredIdsLeaveTheTable() {
    long[] table = IdTable.create();
    for (int i = 0; i < 1_000_000; i++) {
      table = IdTable.add(table, i, i * 7L, i / 1000L, REMEMBERED);
    }
    // At most 5,000 ids are remembered at a time.
    assertThat(table.length).isLessThan(5_000 * 5);
  }
}
