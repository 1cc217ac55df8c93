// The scripted day: three nodes at two sites, two resolvers, and one incident after the other.
//
// | from | for | incident |
// |---|---|---|
// | 1:30 | 20 min | resolver-2 answers nothing |
// | 3:02 | 30 min | NXDOMAIN storm after a deployment at 3:00: the process cart asks for a name that does not exist |
// | 4:30 | 15 min | a tunnel: one client of us-1 sends data in names below evil-data.net |
// | 5:15 | 10 min | forged second answers, and answers that a resolver finds bogus |
// | 6:00 | 30 min | the node us-1 loses a third of its packets |
// | all | | the certificate of the shop falls below three days at 4:00, and is not renewed |
import { Capture, code, type, type Endpoint, type Exchange } from "./capture.js";

/** Hours of the day that are played. */
export const HOURS = 8;
const MINUTE_MS = 60_000;
/** Queries of each node a minute. */
const RATE = 60;

/** Names of incidents, with their first minute and their length in minutes. */
export const incidents = {
    resolver: { from: 90, minutes: 20 },
    deploy: { from: 182, minutes: 30 },
    tunnel: { from: 270, minutes: 15 },
    forged: { from: 315, minutes: 10 },
    packets: { from: 360, minutes: 30 },
} as const;

/** An incident of the day. */
export type IncidentName = keyof typeof incidents;

/** Minute of the deployment before the NXDOMAIN storm. */
export const DEPLOY_MINUTE = 180;
/** Minute from which on the certificate has less than three days. */
export const CERTIFICATE_MINUTE = 240;

/** Resolvers by name. */
export const resolvers = { "resolver-1": "10.0.0.53", "resolver-2": "10.0.1.53" } as const;
/** Nodes with their regions. */
export const nodes = { "eu-1": "eu", "eu-2": "eu", "us-1": "us" } as const;
/** A node with an agent. */
export type Node = keyof typeof nodes;

/** Zones with what the operator knows of them. */
export const zones = [
    { zone: "shop-corp.com", owner: "web team", tier: "1", environment: "prod", unit: "sales" },
    { zone: "intranet-corp.com", owner: "it", tier: "2", environment: "prod", unit: "it" },
    { zone: "build-corp.com", owner: "it", tier: "3", environment: "dev", unit: "it" },
];
/** The zone of the tunnel, which is on a list of threats. */
export const EVIL = "evil-data.net";
const NAMES: readonly string[] = [
    "www.shop-corp.com",
    "api.shop-corp.com",
    "img.shop-corp.com",
    "mail.intranet-corp.com",
    "wiki.intranet-corp.com",
    "ci.build-corp.com",
    "www.example.org",
    "mirror.example.net",
];

/** What sends queries on a node. */
export interface Client {
    readonly ip: string;
    readonly process: string;
    readonly namespace: string;
    readonly pod: string;
    readonly workload: string;
}

/** Clients of a node: pods, of which the second uses a search list. */
export function clients(node: Node): readonly [cart: Client, web: Client, runner: Client, shell: Client] {
    const net = `10.${String(1 + Object.keys(nodes).indexOf(node))}.1`;
    const pod = (host: number, process: string, namespace: string, workload: string): Client => ({
        ip: `${net}.${String(host)}`,
        process,
        namespace,
        workload,
        pod: `${workload}-7d4f9-${node.replace("-", "")}`,
    });
    return [
        pod(11, "cart", "shop", "cart"),
        pod(12, "nginx", "shop", "web"),
        pod(13, "java", "build", "runner"),
        pod(66, "curl", "tools", "shell"),
    ];
}

/** Numbers from 0 to 1 that are the same in each run (mulberry32). */
function random(seed: number): () => number {
    let state = seed >>> 0;
    return () => {
        state = (state + 0x6d2b79f5) >>> 0;
        let mixed = Math.imul(state ^ (state >>> 15), state | 1);
        mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
        return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
}

/** Whether an incident lasts in a minute of the day. */
export function lasts(name: IncidentName, minute: number): boolean {
    const { from, minutes } = incidents[name];
    return minute >= from && minute < from + minutes;
}

/** Returns what the node sees from `startMs` on, in milliseconds since the epoch, without the incidents in `without`. */
export function capture(node: Node, startMs: number, without: readonly IncidentName[] = []): Capture {
    const made = new Capture();
    const next = random(Object.keys(nodes).indexOf(node) + 1);
    const [cart, web, runner, shell] = clients(node);
    const choices = [cart, web, runner] as const;
    let port = 20_000;
    const from = (client: Client): Endpoint => ({ ip: client.ip, port: 20_000 + (port++ % 40_000) });
    const happens = (name: IncidentName, minute: number): boolean => !without.includes(name) && lasts(name, minute);

    for (let minute = 0; minute < HOURS * 60; minute++) {
        const at = (): number => startMs + minute * MINUTE_MS + Math.floor(next() * (MINUTE_MS - 1_000));
        const resolver = (): string => resolvers[next() < 0.5 ? "resolver-1" : "resolver-2"];
        /** An answer comes from the cache, or a few times later from upstream; none comes where an incident says so. */
        const latency = (server: string): { latencyMs?: number } => {
            if (happens("resolver", minute) && server === resolvers["resolver-2"]) return {};
            if (happens("packets", minute) && node === "us-1" && next() < 0.35) return {};
            return { latencyMs: next() < 0.7 ? 0.5 + next() : 8 + next() * 30 };
        };
        const ask = (client: Client, qname: string, more: Partial<Exchange> = {}): void => {
            const server = { ip: resolver(), port: 53 };
            made.add({ atMs: at(), client: from(client), server, qname, ...latency(server.ip), ...more });
        };
        for (let number = 0; number < RATE; number++) {
            const client = choices[Math.floor(next() * choices.length)] ?? cart;
            const qname = NAMES[Math.floor(next() * next() * NAMES.length)] ?? "www.example.org";
            if (client === web && next() < 0.3) {
                ask(client, `${qname}.shop.svc.cluster.local`, { rcode: code.nxdomain });
                ask(client, `${qname}.svc.cluster.local`, { rcode: code.nxdomain });
            }
            ask(client, qname);
        }
        if (happens("deploy", minute) && node !== "us-1") {
            for (let number = 0; number < 4 * RATE; number++)
                ask(cart, "cart-v2.shop-corp.com", { rcode: code.nxdomain, latencyMs: 1 });
        }
        if (happens("tunnel", minute) && node === "us-1") {
            for (let number = 0; number < 3 * RATE; number++) {
                const data = Array.from(
                    { length: 50 },
                    () => "abcdefghijklmnopqrstuvwxyz234567"[Math.floor(next() * 32)],
                ).join("");
                ask(shell, `${data}.t.${EVIL}`, { qtype: type.txt, latencyMs: 20 });
            }
        }
        if (happens("forged", minute)) {
            for (let number = 0; number < 6; number++)
                ask(web, "api.shop-corp.com", { latencyMs: 5, forged: "203.0.113.66" });
            for (let number = 0; number < 10; number++)
                ask(web, "wiki.intranet-corp.com", { latencyMs: 30, rcode: code.servfail, ede: 7 });
        }
    }
    return made;
}
