"""Validates a compose file against the JSON Schema of compose files and prints it as JSON. The exit code is 1 if it is
invalid.

Usage: compose.py SCHEMA FILE"""

import json
import sys

import jsonschema
import yaml

with open(sys.argv[1]) as text:
    schema = json.load(text)
with open(sys.argv[2]) as text:
    document = yaml.safe_load(text)
errors = list(jsonschema.validators.validator_for(schema)(schema).iter_errors(document))
for error in errors:
    print(f"{error.json_path}: {error.message}", file=sys.stderr)
json.dump(document, sys.stdout)
sys.exit(1 if errors else 0)
