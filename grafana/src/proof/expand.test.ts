import assert from "node:assert/strict";
import { test } from "node:test";
import { chMatches, matches } from "../sources.js";
import * as expand from "./expand.js";

const RANGE = { fromMs: 1_763_760_000_000, toMs: 1_763_763_600_000, stepSeconds: 60 };

test("variables are replaced in all their forms", () => {
    const values = { zone: "a.example", resolver: ".*", docs: "https://docs" };
    assert.equal(
        expand.variables("$zone ${zone} ${zone:regex} ${resolver:regex} ${docs}/x $unknown ${__from}", values),
        "a.example a.example a\\.example .* https://docs/x $unknown ${__from}",
    );
});

test("no name ends the literal of a condition", () => {
    for (const zone of ["o'brien.example", "a\\", "$re$", "x$re$ OR true --", "a$", "re$", "100%_"]) {
        for (const sql of [matches("zone", "zone"), chMatches("zone", "zone")]) {
            const parts = expand.variables(sql, { zone }).split("$re$");
            // Two literals and what is around them.
            assert.equal(parts.length, 5, zone);
            for (const [index, part] of parts.entries()) {
                if (index % 2 === 0) assert.doesNotMatch(part, /[\\"%$]|brien|example/, zone);
            }
        }
    }
});

test("macros of PostgreSQL", () => {
    assert.equal(
        expand.timescaledb(
            "SELECT $__timeGroupAlias(ts, $__interval), $__timeGroup(ts, '5m') WHERE $__timeFilter(ts)",
            RANGE,
        ),
        `SELECT time_bucket('60s', ts) AS "time", time_bucket('5m', ts) WHERE ts BETWEEN '2025-11-21T21:20:00Z' AND '2025-11-21T22:20:00Z'`,
    );
    assert.equal(
        expand.timescaledb("$__timeFrom() $__timeTo() $__interval_ms", RANGE),
        "'2025-11-21T21:20:00Z' '2025-11-21T22:20:00Z' 60000",
    );
});

test("macros of ClickHouse", () => {
    assert.equal(
        expand.clickhouse(
            "SELECT $__timeInterval(ts), count() / $__interval_s WHERE $__timeFilter(ts) AND $__toTime > 0",
            RANGE,
        ),
        "SELECT toStartOfInterval(toDateTime(ts), INTERVAL 60 second), count() / 60 WHERE ts >= toDateTime(1763760000) AND ts <= toDateTime(1763763600) AND toDateTime(1763763600) > 0",
    );
});

test("macros of Prometheus", () => {
    assert.equal(expand.prometheus("rate(x[$__rate_interval])", RANGE), "rate(x[240s])");
    assert.equal(expand.prometheus("increase(x[$__range])", RANGE), "increase(x[3600s])");
});

test("what is not replaced is found", () => {
    assert.deepEqual(expand.unresolved("a $__unknown(x) ${zone:regex} '^(.*)$'"), ["$__unknown", "${zone"]);
    assert.deepEqual(expand.unresolved("match(zone, '^(.*)$')"), []);
});
