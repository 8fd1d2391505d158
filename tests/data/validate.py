"""Validates files against a JSON Schema:  validate.py SCHEMA FILE…   (Debian's python3-jsonschema and python3-yaml)

Prints one JSON object: for each file null, or the first mistake. Scalars are read by YAML 1.2's core schema, as the bridge and
editors read them: PyYAML's own would make `off` and `no` booleans.
"""

import json
import re
import sys

import jsonschema
import yaml


class Core(yaml.SafeLoader):
    yaml_implicit_resolvers = {}


for tag, pattern, first in [
    ("bool", r"^(true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("merge", r"^<<$", "<"),
]:
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)

found = {}
for name in sys.argv[2:]:
    with open(name, encoding="utf-8") as file:
        mistakes = list(validator.iter_errors(yaml.load(file, Loader=Core)))
    found[name] = mistakes[0].message if mistakes else None
print(json.dumps(found))
