"""Validates the manifests on standard input against the JSON schemas of a Kubernetes release and prints each as
a line of JSON. Unknown fields are errors. The exit code is 1 if a manifest is invalid.

Usage: manifests.py VERSION [JAR [DEFINITION…]]

JAR: classes of Flink's Kubernetes operator, with the schema of its FlinkDeployment.
DEFINITION: a CustomResourceDefinition of a further kind."""

import functools
import json
import re
import sys
import zipfile

import jsonschema
import kubernetes_validate
import yaml

# Kinds of the Prometheus operator, which have no schema in Kubernetes.
FOREIGN = {"PodMonitor", "PrometheusRule"}

# Without libyaml, the operator's definition takes seconds.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Strict(LOADER):
    """Refuses a key that is there twice, as a strict API server does."""

    def construct_mapping(self, node, deep=False):
        keys = set()
        for key, _ in node.value:
            if key.value in keys:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value}", key.start_mark)
            keys.add(key.value)
        return super().construct_mapping(node, deep)


FLINK = "META-INF/fabric8/flinkdeployments.flink.apache.org-v1.yml"


def closed(schema):
    """Makes fields that a schema does not name errors, as a strict API server does. Alternatives name only some of the
    fields that are next to them."""
    if isinstance(schema, dict):
        for key, part in schema.items():
            if key not in ("allOf", "anyOf", "oneOf", "not"):
                closed(part)
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    elif isinstance(schema, list):
        for part in schema:
            closed(part)


@functools.cache
def flink_deployment(jar):
    definition = yaml.load(zipfile.ZipFile(jar).read(FLINK), LOADER)
    (version,) = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    closed(schema)
    schema["properties"] |= {"apiVersion": {"const": "flink.apache.org/v1beta1"}, "kind": {}, "metadata": {}}
    # This version of the operator's classes is the newest to be had by itself, and older than Flink 2.
    versions = schema["properties"]["spec"]["properties"]["flinkVersion"]
    assert all(re.fullmatch(r"v\d_\d+", name) for name in versions.pop("enum"))
    versions["pattern"] = r"^v\d_\d+$"
    # Without checking the schema itself, which takes seconds.
    return jsonschema.Draft202012Validator(schema)


def defined(files):
    """Validators by apiVersion and kind."""
    found = {}
    for file in files:
        spec = yaml.load(open(file), LOADER)["spec"]
        for version in spec["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            closed(schema)
            schema["properties"]["metadata"] = {"type": "object"}
            name = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            found[name] = jsonschema.Draft202012Validator(schema)
    return found


version = sys.argv[1]
definitions = defined(sys.argv[3:])
bad = False
for document in yaml.load_all(sys.stdin, Strict):
    if document is None:
        continue
    kind = document.get("kind")
    try:
        if kind == "FlinkDeployment":
            flink_deployment(sys.argv[2]).validate(document)
        elif definition := definitions.get((document.get("apiVersion"), kind)):
            definition.validate(document)
        elif kind not in FOREIGN:
            kubernetes_validate.validate(document, version, strict=True)
    except Exception as error:
        print(f"{kind}: {error}", file=sys.stderr)
        bad = True
    print(json.dumps(document))
sys.exit(1 if bad else 0)
