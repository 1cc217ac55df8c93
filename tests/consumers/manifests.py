"""Validates the manifests on standard input against the JSON schemas of a Kubernetes release and prints each as
a line of JSON. Unknown fields are errors. The exit code is 1 if a manifest is invalid."""

import json
import sys

import kubernetes_validate
import yaml

# Kinds of the Prometheus operator, which have no schema in Kubernetes.
FOREIGN = {"PodMonitor"}

version = sys.argv[1]
bad = False
for document in yaml.safe_load_all(sys.stdin):
    if document is None:
        continue
    kind = document.get("kind")
    try:
        if kind not in FOREIGN:
            kubernetes_validate.validate(document, version, strict=True)
    except Exception as error:
        print(f"{kind}: {error}", file=sys.stderr)
        bad = True
    print(json.dumps(document))
sys.exit(1 if bad else 0)
