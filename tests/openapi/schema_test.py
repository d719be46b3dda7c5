#!/usr/bin/env python3
"""The validator validates: each keyword accepts what it should and refuses what it should; the YAML subset refuses what it does not know."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "platform")]

import yaml_subset  # noqa: E402
from report import Report  # noqa: E402
from schema import Schemas  # noqa: E402

THING = {"type": "object", "additionalProperties": False, "required": ["id"], "properties": {"id": {"type": "integer"}, "note": {"type": ["string", "null"]}}}
CASES = [  # schema, good values, bad values
    ({"type": "string"}, ["", "x"], [1, None, [], True]),
    ({"type": "integer"}, [0, -5], [1.5, True, "1", None]),
    ({"type": "number", "minimum": 0, "maximum": 10}, [0, 9.5], [-1, 10.1, "1", False]),
    ({"type": "boolean", "const": True}, [True], [False, 1, None]),
    ({"type": "string", "enum": ["a", "b"]}, ["a"], ["c", "", None]),
    ({"type": "string", "pattern": "^[0-9]+$"}, ["12"], ["", "1a", "a1"]),
    ({"type": "string", "minLength": 1, "maxLength": 2}, ["a", "ab"], ["", "abc"]),
    ({"type": "string", "format": "uuid"}, ["01a210e9-bd7c-7045-8b1c-596b602f2886"], ["01a210e9", "01A210E9-bd7c-7045-8b1c-596b602f2886", ""]),
    ({"type": "string", "format": "date-time"}, ["2026-11-25T04:14:33.135619Z", "2026-11-25T04:14:33+01:00"], ["2026-13-25T04:14:33Z", "2026-11-25", "2026-11-25 04:14:33Z", "2026-11-25T04:14:33"]),
    ({"type": "array", "items": {"type": "integer"}}, [[], [1, 2]], [[1, "2"], {}, None]),
    ({"$ref": "#/components/schemas/Thing"}, [{"id": 1}, {"id": 1, "note": None}, {"id": 1, "note": "x"}], [{}, {"id": "1"}, {"id": 1, "extra": 2}, {"id": 1, "note": 3}, [], None]),
    ({"type": "object", "additionalProperties": {"type": "string"}}, [{}, {"a": "b"}], [{"a": 1}]),
    ({"oneOf": [{"$ref": "#/components/schemas/Thing"}, {"type": "null"}]}, [None, {"id": 1}], [{}, 1, {"id": 1, "extra": 2}]),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, [1.5], [1]),
]
BAD_YAML = ["a: &x 1", "a: *x", "a: |\n  x", "a: {b: 1", "a: 1\na: 2", "a: x: y", "a:\n", "a: 1\n   b: 2\n", "- 1\nb: 2", "a: 'x' y"]


def main():
    report = Report("schema")
    schemas = Schemas({"components": {"schemas": {"Thing": THING}}})
    for schema, good, bad in CASES:
        for value in good:
            report.check(f"{schema} takes {value!r}", not schemas.errors(value, schema), str(schemas.errors(value, schema)))
        for value in bad:
            report.check(f"{schema} refuses {value!r}", bool(schemas.errors(value, schema)), "it was taken")
    for schema in ({"type": "string", "format": "email"}, {"type": "array", "uniqueItems": True}):
        try:
            schemas.errors("x" if schema["type"] == "string" else [], schema)
            report.fail(f"{schema} is an error of the schema", "it was taken")
        except ValueError:
            report.ok(f"{schema} is an error of the schema")
    text = "a: {b: [1, 'two: 3', x:y], c: \"d\\\"e\"}\nf:\n  - g: true\n    h: null\n  - plain text, with: nothing\n"
    try:
        yaml_subset.load(text)
        report.fail("a colon in a plain scalar is refused", "it was taken")
    except yaml_subset.Bad:
        report.ok("a colon in a plain scalar is refused")
    text = text.replace("plain text, with: nothing", "plain text, with:nothing")
    expected = {"a": {"b": [1, "two: 3", "x:y"], "c": 'd"e'}, "f": [{"g": True, "h": None}, "plain text, with:nothing"]}
    report.check("the subset reads", yaml_subset.load(text) == expected, repr(yaml_subset.load(text)))
    for text in BAD_YAML:
        try:
            report.fail(f"{text!r} is refused", repr(yaml_subset.load(text)))
        except (yaml_subset.Bad, ValueError):
            report.ok(f"{text!r} is refused")
    report.end()


if __name__ == "__main__":
    main()
