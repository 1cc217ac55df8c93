"""Reads the Parquet files of an archive with Apache Arrow.

Usage: archive.py FOLDER

Prints each record as a line of JSON, with the fields that are not null, as in dns.enriched/1. Fails if a record is not in
the folder of its hour.
"""

import json
import sys
from datetime import datetime, timezone

import pyarrow
from pyarrow import dataset


def present(value):
    """Returns the value without the fields of structs that are null."""
    if isinstance(value, dict):
        return {name: present(field) for name, field in value.items() if field is not None}
    if isinstance(value, list):
        return [present(element) for element in value]
    return value


def rfc3339(nanos):
    seconds, fraction = divmod(nanos, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{fraction:09}Z"


folders = pyarrow.schema([("day", pyarrow.string()), ("hour", pyarrow.string())])
archive = dataset.dataset(sys.argv[1], format="parquet", partitioning=dataset.partitioning(folders, flavor="hive"))
assert archive.schema.field("ts").type == pyarrow.timestamp("ns", "UTC"), archive.schema
for batch in archive.to_batches():
    # Python's own times have no nanoseconds.
    times = batch.column("ts").cast(pyarrow.int64()).to_pylist()
    for nanos, row in zip(times, batch.drop_columns(["ts"]).to_pylist(maps_as_pydicts="strict")):
        record = present(row)
        record["ts"] = rfc3339(nanos)
        day, hour = record.pop("day"), record.pop("hour")
        assert record["ts"].startswith(f"{day}T{hour}:"), (day, hour, record)
        print(json.dumps(record))
