"""Reads the YAML subset that contracts/openapi.yaml is written in: block mappings and lists, flow collections on one line, plain and quoted
scalars. Python's standard library has no YAML; anything outside the subset is an error with its line, never a guess."""
import json
import re


class Bad(Exception):
    pass


def load(text):
    lines = []
    for number, raw in enumerate(text.splitlines(), 1):
        stripped = raw.strip()
        if stripped and not stripped.startswith("#"):
            lines.append((len(raw) - len(raw.lstrip(" ")), stripped, number))
    value, rest = _block(lines, 0, lines[0][0])
    if rest != len(lines):
        raise Bad(f"line {lines[rest][2]}: indentation")
    return value


def _block(lines, at, indent):
    if lines[at][1].startswith("- "):
        out = []
        while at < len(lines) and lines[at][0] == indent and lines[at][1].startswith("- "):
            item = lines[at][1][2:].strip()
            if _key(item):  # a mapping that begins on the dash's line
                lines[at] = (indent + 2, item, lines[at][2])
                value, at = _block(lines, at, indent + 2)
            else:
                value, at = _scalar(item, lines[at][2]), at + 1
            out.append(value)
        return out, at
    out = {}
    while at < len(lines) and lines[at][0] == indent:
        match = _key(lines[at][1])
        if not match:
            raise Bad(f"line {lines[at][2]}: expected `key: value`")
        name, rest, number = _scalar(match[0], lines[at][2], plain=str), match[1], lines[at][2]
        if name in out:
            raise Bad(f"line {number}: {name} stands twice")
        at += 1
        if rest:
            out[name] = _scalar(rest, number)
        elif at < len(lines) and lines[at][0] > indent:
            out[name], at = _block(lines, at, lines[at][0])
        else:
            raise Bad(f"line {number}: {name} has no value")
    return out, at


def _key(text):
    match = re.match(r"""('[^']*'|"[^"]*"|[^\s'"{\[&*!|>%@`#,:-][^\s:]*(?::[^\s:]+)*|/[^\s:]*):(?:\s+(.*))?$""", text)
    return (match[1], (match[2] or "").strip()) if match else None


def _scalar(text, number, plain=None):
    value, end = _flow(text, 0, number, top=True, plain=plain)
    if text[end:].strip():
        raise Bad(f"line {number}: unexpected `{text[end:].strip()}`")
    return value


def _flow(text, at, number, top=False, plain=None):
    while at < len(text) and text[at] == " ":
        at += 1
    if at < len(text) and text[at] in "{[":
        close, out = ("}", {}) if text[at] == "{" else ("]", [])
        at += 1
        while True:
            while at < len(text) and text[at] in " ,":
                at += 1
            if at >= len(text):
                raise Bad(f"line {number}: a flow collection does not end on its line")
            if text[at] == close:
                return out, at + 1
            value, at = _flow(text, at, number, plain=str if close == "}" else None)
            if close == "]":
                out.append(value)
                continue
            if at >= len(text) or text[at] != ":":
                raise Bad(f"line {number}: expected `:` after {value}")
            out[value], at = _flow(text, at + 1, number)
    if at < len(text) and text[at] == "'":
        end = text.index("'", at + 1)
        return text[at + 1:end], end + 1
    if at < len(text) and text[at] == '"':
        match = re.compile(r'"(?:[^"\\]|\\.)*"').match(text, at)
        if not match:
            raise Bad(f"line {number}: unended string")
        return json.loads(match[0]), match.end()
    match = re.compile(r"[^#].*" if top else r"[^,\]}:]*(?::(?=\S)[^,\]}:]*)*").match(text, at)
    word = match[0].strip() if match else ""
    if top and (": " in word or " #" in word) or word[:1] in "&*!|>%@`":
        raise Bad(f"line {number}: quote `{word}`")
    if plain is str:
        return word, match.end()
    if word in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[word], match.end()
    if re.fullmatch(r"-?\d+", word):
        return int(word), match.end()
    return word, match.end()
