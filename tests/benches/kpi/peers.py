"""KPIs of a store's facts, computed with pandas, Polars or DuckDB.

Usage: peers.py pandas|polars|duckdb FACTS > values.json: {kpi: {"day[/currency]": value}}
"""

import json
import pathlib
import sys

EVENT_COLUMNS = [
    "day",
    "event_us",
    "source_system",
    "event_id",
    "business_key",
    "event_type",
    "corrects",
    "currency",
    "amount_micros",
]
DNS_COLUMNS = ["day", "event_us", "window_seconds", "vantage", "revision", "queries", "servfail", "timeout"]
WINDOW = ["event_us", "window_seconds", "vantage"]


def taken_away(corrections):
    """Business keys that living events take away, of pairs of an event's key and the key that it takes away."""
    correctors = {}
    for key, corrects in corrections:
        correctors.setdefault(corrects, []).append(key)

    def is_alive(key):
        return not any(is_alive(other) for other in correctors.get(key, []))

    return [key for key in correctors if not is_alive(key)]


def with_pandas(events, windows):
    import pandas

    def read(files, columns):
        return pandas.concat([pandas.read_parquet(file, columns=columns) for file in files], ignore_index=True)

    events = read(events, EVENT_COLUMNS)
    events = events.sort_values(["event_us", "business_key", "event_type"], kind="stable")
    events = events.drop_duplicates(["source_system", "event_id"])
    events = events.sort_values(["event_us", "event_id"], kind="stable")
    events = events.drop_duplicates(["event_type", "business_key"])
    pairs = events.loc[events["corrects"].notna(), ["business_key", "corrects"]]
    events = events[~events["business_key"].isin(taken_away(pairs.itertuples(index=False, name=None)))]
    counts = events.groupby(["day", "event_type"]).size().unstack(fill_value=0)
    sign = events["event_type"].map({"payment_captured": 1, "payment_refunded": -1})
    paid = events[sign.notna()].assign(net=events["amount_micros"] * sign)
    revenue = paid.groupby(["day", "currency"])["net"].sum().astype("int64")
    windows = read(windows, DNS_COLUMNS).sort_values("revision", kind="stable").drop_duplicates(WINDOW, keep="last")
    dns = windows.groupby("day")[["queries", "servfail", "timeout"]].sum()
    return (
        {str(day): row for day, row in counts.to_dict("index").items()},
        {f"{day}/{currency}": amount for (day, currency), amount in revenue.items()},
        {str(day): row for day, row in dns.to_dict("index").items()},
    )


def with_polars(events, windows):
    import polars
    from polars import col

    events = polars.scan_parquet(events).select(EVENT_COLUMNS)
    events = events.sort("event_us", "business_key", "event_type", maintain_order=True)
    events = events.unique(["source_system", "event_id"], keep="first", maintain_order=True)
    events = events.sort("event_us", "event_id", maintain_order=True)
    events = events.unique(["event_type", "business_key"], keep="first", maintain_order=True).collect()
    pairs = events.filter(col("corrects").is_not_null()).select("business_key", "corrects").rows()
    events = events.filter(~col("business_key").is_in(taken_away(pairs)))
    counts = {}
    for day, kind, number in events.group_by("day", "event_type").len().iter_rows():
        counts.setdefault(str(day), {})[kind] = number
    paid = events.filter(col("event_type").is_in(["payment_captured", "payment_refunded"]))
    sign = polars.when(col("event_type") == "payment_captured").then(1).otherwise(-1)
    revenue = paid.group_by("day", "currency").agg((col("amount_micros") * sign).sum())
    windows = polars.scan_parquet(windows).select(DNS_COLUMNS).sort("revision", maintain_order=True)
    windows = windows.unique(WINDOW, keep="last", maintain_order=True)
    dns = windows.group_by("day").agg(col("queries", "servfail", "timeout").sum()).collect()
    return (
        counts,
        {f"{day}/{currency}": amount for day, currency, amount in revenue.iter_rows()},
        {str(row["day"]): row for row in dns.iter_rows(named=True)},
    )


def with_duckdb(events, windows):
    import duckdb

    database = duckdb.connect()
    events, windows = [str(file) for file in events], [str(file) for file in windows]
    database.execute(
        f"""CREATE TABLE once AS
        SELECT {", ".join(EVENT_COLUMNS)} FROM read_parquet($1, hive_partitioning = false)
        QUALIFY row_number() OVER (PARTITION BY source_system, event_id ORDER BY event_us, business_key, event_type) = 1""",
        [events],
    )
    database.execute(
        """CREATE TABLE events AS SELECT * FROM once
        QUALIFY row_number() OVER (PARTITION BY event_type, business_key ORDER BY event_us, event_id) = 1"""
    )
    pairs = database.execute("SELECT business_key, corrects FROM events WHERE corrects IS NOT NULL").fetchall()
    database.execute("CREATE TABLE taken AS SELECT unnest($1) AS business_key", [taken_away(pairs)])
    database.execute("DELETE FROM events WHERE business_key IN (SELECT business_key FROM taken)")
    counts = {}
    for day, kind, number in database.execute(
        "SELECT day, event_type, count(*) FROM events GROUP BY day, event_type"
    ).fetchall():
        counts.setdefault(str(day), {})[kind] = number
    revenue = database.execute(
        """SELECT day, currency, sum(CASE event_type WHEN 'payment_captured' THEN amount_micros ELSE -amount_micros END)
        FROM events WHERE event_type IN ('payment_captured', 'payment_refunded') GROUP BY day, currency"""
    ).fetchall()
    dns = database.execute(
        f"""SELECT day, sum(queries), sum(servfail), sum(timeout)
        FROM (SELECT {", ".join(DNS_COLUMNS)} FROM read_parquet($1, hive_partitioning = false)
        QUALIFY row_number() OVER (PARTITION BY {", ".join(WINDOW)} ORDER BY revision DESC) = 1) GROUP BY day""",
        [windows],
    ).fetchall()
    return (
        counts,
        {f"{day}/{currency}": amount for day, currency, amount in revenue},
        {str(day): dict(zip(("queries", "servfail", "timeout"), sums)) for day, *sums in dns},
    )


def main():
    engine, facts = sys.argv[1], pathlib.Path(sys.argv[2])
    files = [sorted(facts.glob(f"{table}/**/*.parquet")) for table in ("events", "dns")]
    counts, revenue, dns = {"pandas": with_pandas, "polars": with_polars, "duckdb": with_duckdb}[engine](*files)

    def count(day, kind):
        return int(counts[day].get(kind, 0))

    def ratio(part, whole):
        return part / whole if whole else None

    values = {"revenue": {key: int(amount) for key, amount in revenue.items()}}
    values["dns_query_error_ratio"] = {
        day: ratio(int(row["servfail"] + row["timeout"]), int(row["queries"])) for day, row in dns.items()
    }
    for kpi, value in {
        "registrations": lambda day: count(day, "registration_completed"),
        "renewals": lambda day: count(day, "renewal_completed"),
        "net_transfers": lambda day: count(day, "transfer_in_completed") - count(day, "transfer_out_completed"),
        "registration_success_ratio": lambda day: ratio(
            count(day, "registration_completed"),
            count(day, "registration_completed") + count(day, "registration_failed"),
        ),
        "renewal_ratio": lambda day: ratio(
            count(day, "renewal_completed"),
            sum(count(day, kind) for kind in ("renewal_completed", "renewal_declined", "expired")),
        ),
    }.items():
        values[kpi] = {day: value(day) for day in counts}
    json.dump(values, sys.stdout)


main()
