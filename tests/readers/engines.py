"""Reads the Parquet files of a stream with pandas, Polars and DuckDB.

Usage: engines.py FOLDER

Prints the same figures of each engine as JSON: rows, ids that differ, the sum of latencies, rows by response code, and
rows with an answer.
"""

import json
import sys

import duckdb
import pandas
import polars

FOLDER = sys.argv[1]


def with_pandas():
    rows = pandas.read_parquet(FOLDER, engine="pyarrow")
    return {
        "rows": len(rows),
        "ids": rows.event_id.nunique(),
        "latency_ms": float(rows.latency_ms.sum()),
        "rcodes": {code: int(count) for code, count in rows.rcode.value_counts().items()},
        "with_answer": int(rows.answers.map(lambda answers: answers is not None and len(answers) > 0).sum()),
    }


def with_polars():
    rows = polars.read_parquet(f"{FOLDER}/**/*.parquet", hive_partitioning=True)
    codes = rows.drop_nulls("rcode").group_by("rcode").len()
    return {
        "rows": rows.height,
        "ids": rows["event_id"].n_unique(),
        "latency_ms": rows["latency_ms"].sum(),
        "rcodes": dict(codes.rows()),
        "with_answer": rows.filter(polars.col("answers").list.len() > 0).height,
    }


def with_duckdb():
    rows = f"read_parquet('{FOLDER}/**/*.parquet', hive_partitioning = true)"
    ((count, ids, latency, with_answer),) = duckdb.sql(
        f"SELECT count(*), count(DISTINCT event_id), sum(latency_ms), count(*) FILTER (len(answers) > 0) FROM {rows}"
    ).fetchall()
    codes = duckdb.sql(f"SELECT rcode, count(*) FROM {rows} WHERE rcode IS NOT NULL GROUP BY rcode").fetchall()
    return {"rows": count, "ids": ids, "latency_ms": latency, "rcodes": dict(codes), "with_answer": with_answer}


print(json.dumps({"pandas": with_pandas(), "polars": with_polars(), "duckdb": with_duckdb()}))
