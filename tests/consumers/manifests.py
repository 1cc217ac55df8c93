"""Reads manifests from standard input, validates each against the JSON schema of a Kubernetes release,
unknown fields refused, and prints each as a line of JSON. Ends with 1 where one is not valid."""

import json
import sys

import kubernetes_validate
import yaml

# Of the Prometheus operator: Kubernetes has no schema of it.
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
