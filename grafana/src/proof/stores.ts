// The stores and Prometheus, asked as Grafana's data sources ask them.
import pg from "pg";

/** What `cargo xtask stack status -o json` prints. */
export interface Addresses {
    readonly kafka: string;
    readonly timescaledb: string;
    readonly clickhouse: string;
    readonly prometheus: string;
}

/** Rows by the names of their columns, and the milliseconds that the query took. */
export interface Answer {
    readonly rows: Record<string, unknown>[];
    readonly ms: number;
}

/** A time range in milliseconds since the epoch, with the step of queries in seconds. */
export interface Range {
    readonly fromMs: number;
    readonly toMs: number;
    readonly stepSeconds: number;
}

/** Connections to all stores. */
export class Stores {
    private readonly pool: pg.Pool;

    constructor(private readonly addresses: Addresses) {
        this.pool = new pg.Pool({ connectionString: addresses.timescaledb, max: 1, options: "-c timezone=UTC" });
    }

    /** Ends the connections. */
    async end(): Promise<void> {
        await this.pool.end();
    }

    async timescaledb(sql: string): Promise<Answer> {
        const began = performance.now();
        const { rows } = await this.pool.query<Record<string, unknown>>(sql);
        return { rows, ms: performance.now() - began };
    }

    async clickhouse(sql: string): Promise<Answer> {
        const began = performance.now();
        const url = `${this.addresses.clickhouse}/?database=dns&default_format=JSON&output_format_json_quote_64bit_integers=0`;
        const text = await fetched(url, { method: "POST", body: sql });
        const { data } = JSON.parse(text) as { data: Record<string, unknown>[] };
        return { rows: data, ms: performance.now() - began };
    }

    /** One row for each sample: its labels, `time` in seconds and `value`. */
    async prometheus(expr: string, range: Range, isInstant: boolean): Promise<Answer> {
        const began = performance.now();
        const query = isInstant
            ? new URLSearchParams({ query: expr, time: String(range.toMs / 1000) })
            : new URLSearchParams({
                  query: expr,
                  start: String(range.fromMs / 1000),
                  end: String(range.toMs / 1000),
                  step: String(range.stepSeconds),
              });
        const text = await fetched(
            `${this.addresses.prometheus}/api/v1/query${isInstant ? "" : "_range"}?${query.toString()}`,
            {},
        );
        interface Series {
            readonly metric: Record<string, string>;
            readonly value?: [number, string];
            readonly values?: [number, string][];
        }
        const { data } = JSON.parse(text) as { data: { result: Series[] } };
        const rows = data.result.flatMap(({ metric, value, values }) =>
            (values ?? (value ? [value] : [])).map(([time, number]) => ({ ...metric, time, value: Number(number) })),
        );
        return { rows, ms: performance.now() - began };
    }

    /** Values of a label, as a variable of Grafana asks for them. */
    async labelValues(selector: string, label: string): Promise<string[]> {
        const query = new URLSearchParams({ "match[]": selector });
        const text = await fetched(`${this.addresses.prometheus}/api/v1/label/${label}/values?${query.toString()}`, {});
        return (JSON.parse(text) as { data: string[] }).data;
    }
}

async function fetched(url: string, options: RequestInit): Promise<string> {
    const response = await fetch(url, options);
    const text = await response.text();
    if (!response.ok) throw new Error(`${String(response.status)} ${text.slice(0, 600)}`);
    return text;
}
