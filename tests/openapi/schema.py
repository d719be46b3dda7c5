"""JSON Schema 2020-12, the part that contracts/openapi.yaml uses. Strict about the schema as well: an unknown keyword is an error, so that
nothing is believed to be checked that is not."""
import datetime
import re

KNOWN = {"$ref", "type", "properties", "required", "additionalProperties", "enum", "const", "items", "oneOf", "pattern", "format", "minimum",
         "maximum", "minLength", "maxLength", "description", "default"}
UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
TYPES = {"string": str, "object": dict, "array": list, "boolean": bool, "null": type(None)}


def is_type(value, name):
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def is_format(value, name):
    if name == "uuid":
        return UUID.fullmatch(value) is not None
    if name == "date-time":
        if not DATE_TIME.fullmatch(value):
            return False
        try:
            datetime.datetime.fromisoformat(value[:19])
        except ValueError:
            return False
        return True
    raise ValueError(f"format {name} is not supported")


class Schemas:
    def __init__(self, document):
        self.document = document

    def resolve(self, node):
        while "$ref" in node:
            target = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def errors(self, value, schema, where="$"):
        """What is wrong, each with its place; empty where the value fits."""
        name = schema.get("$ref", "").rsplit("/", 1)[-1]
        schema = self.resolve(schema)
        if unknown := set(schema) - KNOWN:
            raise ValueError(f"keywords not supported: {sorted(unknown)}")
        out = []
        if "oneOf" in schema:
            tried = [self.errors(value, option, where) for option in schema["oneOf"]]
            if sum(not errors for errors in tried) != 1:
                out.append(f"{where}: fits {sum(not e for e in tried)} of {len(tried)} alternatives: {min(tried, key=len)}")
            return out
        if "type" in schema:
            types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            if not any(is_type(value, t) for t in types):
                return [f"{where}: {value!r:.80} is not {' or '.join(types)}"]
        if "const" in schema and value != schema["const"]:
            out.append(f"{where}: {value!r:.80} is not {schema['const']!r}")
        if "enum" in schema and value not in schema["enum"]:
            out.append(f"{where}: {value!r:.80} is none of {schema['enum']}")
        if isinstance(value, str):
            if "pattern" in schema and not re.search(schema["pattern"], value):
                out.append(f"{where}: {value!r:.80} does not match {schema['pattern']}")
            if "format" in schema and not is_format(value, schema["format"]):
                out.append(f"{where}: {value!r:.80} is not a {schema['format']}")
            if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1 << 62):
                out.append(f"{where}: length {len(value)}")
        if is_type(value, "number") and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            out.append(f"{where}: {value} is out of range")
        if isinstance(value, list) and "items" in schema:
            for i, item in enumerate(value):
                out += self.errors(item, schema["items"], f"{where}[{i}]")
        if isinstance(value, dict):
            properties, extra = schema.get("properties", {}), schema.get("additionalProperties", True)
            out += [f"{where}: {n} is missing" for n in schema.get("required", []) if n not in value]
            for n, item in value.items():
                if n in properties:
                    out += self.errors(item, properties[n], f"{where}.{n}")
                elif extra is False:
                    out.append(f"{where}.{n} is not documented in {name or 'its schema'}")
                elif isinstance(extra, dict):
                    out += self.errors(item, extra, f"{where}.{n}")
        return out
