"""Reads a dictionary exported for Apache Ossie with azem, by its schema and its parser of SQL, and makes a query of each metric of one
dataset: azem joins no others."""

import re
import sys

from azem.compiler import compile_query
from azem.compiler.request import QueryRequest
from azem.model.loader import SemanticModel

model = SemanticModel.from_file(sys.argv[1])
names = {dataset.name for dataset in model.datasets}
several = 0
for metric in model.metrics:
    expression = metric.expression.dialects[0].expression
    if len(names & set(re.findall(r"(\w+)\.\w+", expression))) > 1:
        several += 1
        continue
    compile_query(model, QueryRequest(metrics=[metric.name]), "clickhouse")
print(len(model.datasets), len(model.metrics), several)
sys.exit(several > len(model.metrics) / 4)
