"""Validates a dictionary exported for the dbt Semantic Layer with dbt-semantic-interfaces."""

import sys

from dbt_semantic_interfaces.parsing.dir_to_model import parse_yaml_files_to_validation_ready_semantic_manifest
from dbt_semantic_interfaces.parsing.objects import YamlConfigFile
from dbt_semantic_interfaces.validations.semantic_manifest_validator import SemanticManifestValidator

file = YamlConfigFile(filepath=sys.argv[1], contents=open(sys.argv[1], encoding="utf-8").read())
result = parse_yaml_files_to_validation_ready_semantic_manifest([file])
issues = result.issues.errors
issues += SemanticManifestValidator().validate_semantic_manifest(result.semantic_manifest).errors
for issue in issues:
    print(issue.as_readable_str())
totals = [metric for metric in result.semantic_manifest.metrics if metric.type.value == "cumulative"]
for metric in totals:
    # The default is that of the first day of a month.
    if metric.type_params.cumulative_type_params.period_agg.value != "last":
        sys.exit(f"{metric.name}: not that of the last day")
if issues:
    sys.exit(1)
kinds = sorted({metric.type.value for metric in result.semantic_manifest.metrics})
print(len(result.semantic_manifest.semantic_models), len(result.semantic_manifest.metrics), *kinds)
