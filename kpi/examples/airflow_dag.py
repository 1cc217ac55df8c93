"""Airflow 3: one task for the facts, one for each day's values. A backfill runs its days in parallel."""

import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "dnscribe_kpi",
    schedule="@daily",
    start_date=datetime.datetime(2025, 1, 1, tzinfo=datetime.timezone.utc),
    catchup=True,
    default_args={"retries": 3, "retry_delay": datetime.timedelta(minutes=5)},
) as dag:
    facts = BashOperator(
        task_id="import",
        bash_command="dnscribe-kpi --data s3://kpi/registrar import --source registrar /exports/registrar/{{ ds }}.ndjson.gz",
    )
    # Late events and corrections change the days before: the window covers the longest lateness.
    values = BashOperator(
        task_id="compute",
        bash_command="dnscribe-kpi --data s3://kpi/registrar compute --from {{ macros.ds_add(ds, -15) }} --to {{ ds }} --final",
    )
    facts >> values
