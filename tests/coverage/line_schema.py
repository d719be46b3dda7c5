"""The JSON Schema of a log line, with exactly the keywords that it uses: an unknown one is an error, so that nothing is believed to be checked
that is not."""
import json
import re

KNOWN = {"$schema", "title", "$comment", "description", "type", "required", "anyOf", "if", "then", "dependentRequired", "properties", "additionalProperties", "enum", "const", "pattern", "format"}
TYPES = {"object": dict, "string": str, "boolean": bool, "array": list}


def errors(schema, value, at="line"):
    unknown = set(schema) - KNOWN
    if unknown:
        raise ValueError(f"keywords {unknown} are not supported")
    wanted = schema.get("type")
    if wanted == "integer" and (isinstance(value, bool) or not isinstance(value, int)) or wanted in TYPES and not isinstance(value, TYPES[wanted]):
        return [f"{at}: not of type {wanted}"]
    out = []
    if "enum" in schema and value not in schema["enum"]:
        out.append(f"{at}: {value!r} is none of {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        out.append(f"{at}: {value!r} is not {schema['const']!r}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        out.append(f"{at}: {value!r} does not match {schema['pattern']}")
    if isinstance(value, dict):
        out += [f"{at}: {name} is missing" for name in schema.get("required", []) if name not in value]
        if "anyOf" in schema and not any(not errors(one, value, at) for one in schema["anyOf"]):
            out.append(f"{at}: no alternative of anyOf holds")
        if "if" in schema and not errors(schema["if"], value, at):
            out += errors(schema["then"], value, at)
        for name, needed in schema.get("dependentRequired", {}).items():
            out += [f"{at}: {name} without {other}" for other in needed if name in value and other not in value]
        for name, member in value.items():
            own = schema.get("properties", {}).get(name, schema.get("additionalProperties", True))
            if own is False:
                out.append(f"{at}: {name} is not declared")
            elif own is not True:
                out += errors(own, member, f"{at}.{name}")
    return out


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)
