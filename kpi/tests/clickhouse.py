"""Runs a file of SQL in ClickHouse's engine and prints the rows of its SELECTs, tab separated."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/clickhouse"))

import absent  # noqa: E402, F401  stands for packages that chdb imports and does not need
from chdb import session  # noqa: E402

engine = session.Session()
for statement in open(sys.argv[1], encoding="utf-8").read().split(";\n"):
    if statement.strip():
        result = engine.query(statement, "TSV")
        if statement.startswith("SELECT"):
            sys.stdout.write(str(result))
sys.stdout.flush()
# The engine's threads outlive its session, and abort at a regular exit.
os._exit(0)
