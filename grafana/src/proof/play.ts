// Plays the scripted day into a running stack: captures go through the agent's replay, all records through Kafka and the
// jobs into the stores. Returns when the stores have the day.
//
// Usage: node play.js STACK.json FOLDER START_MS [WITHOUT,…]
//
// STACK.json is what `cargo xtask stack status -o json` prints; DNSCRIBE_BIN names the agent.
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { capture, type IncidentName, nodes, resolvers, zones, HOURS } from "./day.js";
import { type Addresses, Stores } from "./stores.js";
import {
    annotations,
    attribute,
    encrypted,
    intel,
    lookups,
    nodeNames,
    probeAlerts,
    probes,
    type TopicRecord,
    uses,
} from "./records.js";

const [stackFile = "", folder = "", startText = "", withoutText = ""] = process.argv.slice(2);
const addresses = JSON.parse(readFileSync(stackFile, "utf8")) as Addresses;
const startMs = Number(startText);
const without = withoutText.split(",").filter((name) => name !== "") as IncidentName[];
const agent = process.env.DNSCRIBE_BIN ?? "dnscribe";
/** Those of the default, and the one with which boards narrow by resolver and zone at once. */
const GROUPINGS = ["node", "resolver", "zone", "qtype", "process", "pod", "resolver+zone"];
/** How long the jobs may take. */
const LIMIT_MS = 300_000;

/** Topics by schema, and the field that is the key there: a compacted topic takes no record without one. */
const TOPICS: Record<string, [topic: string, key: string]> = {
    "dns.transaction/1": ["dns.normalized", "resolver"],
    "dns.window/1": ["dns.metrics", "resolver"],
    "dns.alert/1": ["dns.alerts", "entity"],
    "dns.probe/1": ["dns.probes", "target"],
    "dns.use/1": ["dns.uses", "node"],
    "dns.lookup/1": ["dns.lookups", "node"],
    "dns.connection/1": ["dns.connections", "node"],
};
/** Between key and record: JSON has none, and neither have names. */
const DELIMITER = "\t";

function run(program: string, args: string[], input?: string): void {
    const result = spawnSync(program, args, { input, stdio: ["pipe", "inherit", "inherit"], maxBuffer: 2 ** 30 });
    if (result.status !== 0)
        throw new Error(`${program} ${args.join(" ")} failed: ${String(result.error ?? result.status)}`);
}

function parseLines(file: string): TopicRecord[] {
    const lines = readFileSync(file, "utf8").split("\n");
    return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as TopicRecord);
}

const records: TopicRecord[] = [
    ...probes(startMs, without),
    ...probeAlerts(startMs, without),
    ...uses(startMs, without),
    ...lookups(startMs, without),
    ...encrypted(startMs, without),
];
for (const node of nodeNames) {
    const [pcap, config, output] = [`${node}.pcap`, `${node}.yaml`, `${node}.ndjson`].map((name) =>
        join(folder, name),
    ) as [string, string, string];
    writeFileSync(pcap, capture(node, startMs, without).pcap());
    // JSON is YAML.
    const names = Object.fromEntries(Object.entries(resolvers).map(([name, address]) => [name, [address]]));
    writeFileSync(
        config,
        JSON.stringify({
            version: 1,
            node,
            region: nodes[node],
            resolvers: names,
            windows: { spans: ["1m"], groupings: GROUPINGS },
        }),
    );
    // The sink appends.
    rmSync(output, { force: true });
    run(agent, [
        "replay",
        "--config",
        config,
        pcap,
        "--stream",
        "transactions,metrics,alerts",
        "--sink",
        `file:${output}`,
        "--log-format",
        "json",
    ]);
    for (const record of parseLines(output)) records.push(attribute(record, startMs));
}
writeFileSync(join(folder, "zones.ndjson"), zones.map((zone) => JSON.stringify(zone)).join("\n"));
writeFileSync(join(folder, "intel.ndjson"), intel.map((one) => JSON.stringify(one)).join("\n"));
run(agent, ["zones", "import", join(folder, "zones.ndjson"), "--brokers", addresses.kafka]);
run(agent, ["intel", "import", join(folder, "intel.ndjson"), "--brokers", addresses.kafka]);
for (const args of annotations(startMs)) run(agent, [...args, "--brokers", addresses.kafka]);

// In the order of their times, as records of nodes that run at the same time arrive.
records.sort((a, b) => String(a.ts).localeCompare(String(b.ts)));
const texts = new Map<string, string[]>();
for (const record of records) {
    const [topic, key] = TOPICS[String(record.schema)] ?? ["", ""];
    const lines = texts.get(topic) ?? [];
    lines.push(`${String(record[key] ?? "")}${DELIMITER}${JSON.stringify(record)}`);
    texts.set(topic, lines);
}
// One partition: records of one topic stay in their order.
for (const [topic, lines] of texts) {
    const args = ["-b", addresses.kafka, "-P", "-t", topic, "-p", "0", "-z", "zstd", "-K", DELIMITER];
    run("kcat", args, lines.join("\n") + "\n");
}

const stores = new Stores(addresses);
const expected = {
    transactions: texts.get("dns.normalized")?.length ?? 0,
    probes: texts.get("dns.probes")?.length ?? 0,
    uses: texts.get("dns.uses")?.length ?? 0,
    lookups: texts.get("dns.lookups")?.length ?? 0,
    connections: texts.get("dns.connections")?.length ?? 0,
};
const began = Date.now();
for (;;) {
    const ofTable = async (table: string): Promise<number> =>
        Number((await stores.clickhouse(`SELECT count() AS n FROM ${table}`)).rows[0]?.n);
    const [row] = (
        await stores.timescaledb(
            `SELECT (SELECT count(*) FROM dns_probes) AS probes, (SELECT count(*) FROM dns_changes) AS changes,
         (SELECT count(*) FROM dns_fleet WHERE "grouping" = 'all' AND window_seconds = 60) AS windows,
         (SELECT count(*) FROM dns_fleet_1h WHERE "grouping" = 'all') AS hours`,
        )
    ).rows;
    const found = {
        transactions: await ofTable("dns_transactions"),
        uses: await ofTable("dns_uses"),
        lookups: await ofTable("dns_lookups"),
        connections: await ofTable("dns_connections"),
        probes: Number(row?.probes),
        changes: Number(row?.changes),
        windows: Number(row?.windows),
        hours: Number(row?.hours),
    };
    // The last minutes stay open until later windows come.
    const isDone =
        found.transactions >= expected.transactions &&
        found.probes >= expected.probes &&
        found.uses >= expected.uses &&
        found.lookups >= expected.lookups &&
        found.connections >= expected.connections &&
        found.windows >= HOURS * 60 - 5 &&
        found.hours >= HOURS &&
        found.changes >= 3;
    if (isDone) break;
    if (Date.now() - began > LIMIT_MS)
        throw new Error(`the stores do not have the day: ${JSON.stringify({ found, expected })}`);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
}
// A week ago was the same day.
const columns = (
    await stores.timescaledb(
        `SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position) AS names FROM information_schema.columns
     WHERE table_name = 'dns_fleet' AND column_name <> 'ts'`,
    )
).rows[0]?.names;
await stores.timescaledb(
    `INSERT INTO dns_fleet (ts, ${String(columns)}) SELECT ts - INTERVAL '7 days', ${String(columns)} FROM dns_fleet
     WHERE "grouping" IN ('all', 'resolver') AND window_seconds = 60`,
);
await stores.end();
console.error(`the stores have the day after ${String(Math.round((Date.now() - began) / 1000))} s`);
