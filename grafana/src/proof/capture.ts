// Capture files of DNS over UDP and IPv4 (pcap with nanoseconds, link type "raw IP").

/** Response codes and types that captures have. */
export const code = { noerror: 0, servfail: 2, nxdomain: 3 } as const;
export const type = { a: 1, txt: 16 } as const;

/** A datagram with its time in milliseconds since the epoch. */
interface Datagram {
    readonly atMs: number;
    readonly from: Endpoint;
    readonly to: Endpoint;
    readonly payload: Buffer;
}

/** Address and port. */
export interface Endpoint {
    readonly ip: string;
    readonly port: number;
}

/** What an exchange is like; without `latencyMs` there is no response. */
export interface Exchange {
    readonly atMs: number;
    readonly client: Endpoint;
    readonly server: Endpoint;
    readonly qname: string;
    readonly qtype?: number;
    readonly rcode?: number;
    readonly latencyMs?: number;
    /** Address in the answer. */
    readonly address?: string;
    /** Extended error (RFC 8914). */
    readonly ede?: number;
    /** Address in a second response, which contradicts the first. */
    readonly forged?: string;
}

/** Packets of a host, in any order until they are written. */
export class Capture {
    private readonly datagrams: Datagram[] = [];
    private number = 0;

    /** Adds a query and its responses. */
    add(one: Exchange): void {
        const id = (this.number++ * 40_503) & 0xffff;
        const query = message(id, one);
        this.datagrams.push({ atMs: one.atMs, from: one.client, to: one.server, payload: query });
        if (one.latencyMs === undefined) return;
        const answer = (address: string | undefined, delayMs: number): void => {
            const payload = response(query, one.rcode ?? code.noerror, address, one.ede);
            this.datagrams.push({ atMs: one.atMs + delayMs, from: one.server, to: one.client, payload });
        };
        answer(one.rcode === undefined ? (one.address ?? "192.0.2.10") : undefined, one.latencyMs);
        if (one.forged !== undefined) answer(one.forged, one.latencyMs + 1);
    }

    /** Number of packets. */
    get size(): number {
        return this.datagrams.length;
    }

    /** Returns the file. */
    pcap(): Buffer {
        const sorted = this.datagrams.toSorted((a, b) => a.atMs - b.atMs);
        const header = Buffer.alloc(24);
        header.writeUInt32LE(0xa1b23c4d, 0);
        header.writeUInt16LE(2, 4);
        header.writeUInt16LE(4, 6);
        header.writeUInt32LE(65_535, 16);
        header.writeUInt32LE(101, 20);
        return Buffer.concat([header, ...sorted.flatMap(packet)]);
    }
}

function packet(datagram: Datagram): Buffer[] {
    const { atMs, from, to, payload } = datagram;
    const length = 28 + payload.length;
    const head = Buffer.alloc(16 + 28);
    head.writeUInt32LE(Math.floor(atMs / 1000), 0);
    head.writeUInt32LE(Math.round((atMs % 1000) * 1e6) % 1e9, 4);
    head.writeUInt32LE(length, 8);
    head.writeUInt32LE(length, 12);
    const ip = head.subarray(16);
    ip.writeUInt16BE(0x4500, 0);
    ip.writeUInt16BE(length, 2);
    ip.writeUInt16BE(0x4011, 8);
    address(from.ip).copy(ip, 12);
    address(to.ip).copy(ip, 16);
    let sum = 0;
    for (let at = 0; at < 20; at += 2) sum += ip.readUInt16BE(at);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    ip.writeUInt16BE(~sum & 0xffff, 10);
    ip.writeUInt16BE(from.port, 20);
    ip.writeUInt16BE(to.port, 22);
    // No checksum of UDP: 0 says so (RFC 768).
    ip.writeUInt16BE(8 + payload.length, 24);
    return [head, payload];
}

function address(text: string): Buffer {
    return Buffer.from(text.split(".").map(Number));
}

function message(id: number, { qname, qtype = type.a }: Exchange): Buffer {
    const labels = qname.split(".").flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, "latin1")]);
    const head = Buffer.from([id >>> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    return Buffer.concat([head, ...labels, Buffer.from([0, 0, qtype, 0, 1])]);
}

function response(query: Buffer, rcode: number, ip: string | undefined, ede: number | undefined): Buffer {
    const head = Buffer.from(query);
    head[2] = 0x81;
    head[3] = 0x80 | rcode;
    const parts: Uint8Array[] = [head];
    if (ip !== undefined) {
        head[7] = 1;
        parts.push(Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4]), address(ip));
    }
    if (ede !== undefined) {
        head[11] = 1;
        parts.push(Buffer.from([0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 6, 0, 15, 0, 2, ede >>> 8, ede & 0xff]));
    }
    return Buffer.concat(parts);
}
