"""Merges the sketches of dns.window/1 records with Datadog's and Apache's libraries.

Each line of standard input is a list of records; prints the merged values of each list on one line.
"""

import base64
import json
import sys

import datasketches
from ddsketch.pb import ddsketch_pb2
from ddsketch.pb.proto import DDSketchProto

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def latency(records):
    merged = None
    for record in records:
        if "latency_ms" not in record:
            continue
        message = ddsketch_pb2.DDSketch()
        message.ParseFromString(base64.b64decode(record["latency_ms"]["sketch"]))
        sketch = DDSketchProto.from_proto(message)
        if merged is None:
            merged = sketch
        else:
            merged.merge(sketch)
    if merged is None:
        return None
    quantiles = {name: merged.get_quantile_value(q) for name, q in QUANTILES.items()}
    return {"count": merged.count, **quantiles}


def distinct(records, field):
    union = datasketches.hll_union(11)
    for record in records:
        union.update(datasketches.hll_sketch.deserialize(base64.b64decode(record[field]["sketch"])))
    sketch = union.get_result()
    return {
        "estimate": sketch.get_estimate(),
        "lower": sketch.get_lower_bound(2),
        "upper": sketch.get_upper_bound(2),
    }


def top(records, field):
    merged = datasketches.frequent_strings_sketch(10)
    for record in records:
        sketch = base64.b64decode(record["top_sketches"][field])
        merged.merge(datasketches.frequent_strings_sketch.deserialize(sketch))
    items = merged.get_frequent_items(datasketches.frequent_items_error_type.NO_FALSE_NEGATIVES)
    return {
        "total": merged.total_weight,
        "items": [{"value": value, "lower": lower, "upper": upper} for value, _, lower, upper in items],
    }


def merge(records):
    result = {"latency_ms": latency(records)}
    for field in ("unique_qnames", "unique_clients", "unique_resolvers"):
        result[field] = distinct(records, field)
    if all("top_sketches" in record for record in records):
        for field in ("qnames", "zones", "clients", "processes"):
            result[f"top_{field}"] = top(records, field)
    return result


for line in sys.stdin:
    print(json.dumps(merge(json.loads(line))))
