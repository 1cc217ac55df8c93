"""Dagster: facts and values as assets with one partition for each day."""

import datetime
import subprocess

import dagster

DAYS = dagster.DailyPartitionsDefinition(start_date="2025-01-01")
STORE = ["dnscribe-kpi", "--data", "s3://kpi/registrar"]


@dagster.asset(partitions_def=DAYS, retry_policy=dagster.RetryPolicy(max_retries=3))
def registrar_facts(context: dagster.AssetExecutionContext) -> None:
    subprocess.run([*STORE, "import", f"/exports/registrar/{context.partition_key}.ndjson.gz"], check=True)


@dagster.asset(partitions_def=DAYS, deps=[registrar_facts], retry_policy=dagster.RetryPolicy(max_retries=3))
def kpi_values(context: dagster.AssetExecutionContext) -> None:
    # Late events and corrections change the days before: the window covers the longest lateness.
    first = datetime.date.fromisoformat(context.partition_key) - datetime.timedelta(days=15)
    subprocess.run([*STORE, "compute", "--from", str(first), "--to", context.partition_key, "--final"], check=True)
