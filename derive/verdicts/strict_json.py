"""JSON from files that nobody vouches for, and the part of JSON Schema that our schemas use.

Reading refuses what the standard library lets pass: duplicate keys, nan and infinity, depth, long integers, large files. The
check against a schema knows a fixed list of keywords and refuses a schema that uses another, so nothing is passed unchecked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from derive.language.errors import GradproofError, UsageError

VERSION = 1
_URN = "urn:gradproof:{}:1"
MOST_BYTES, MOST_NESTED, MOST_DIGITS = 2**22, 16, 18

_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)
}
_DESCRIBING = {"$schema", "$id", "$defs", "title", "description"}
_CHECKED = {
    "type", "const", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "minimum", "maximum",
    "pattern", "maxLength", "oneOf", "$ref",
}  # fmt: skip


def read_json(path: Path, most_bytes: int = MOST_BYTES) -> Any:
    """Return the JSON value in a file.

    Raises
        UsageError, if the file cannot be read, is too large, is no UTF-8, or is refused by `parse_json`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        message = f"cannot read {str(path)!r}: {getattr(error, 'strerror', None) or error}."
        raise UsageError(message) from error
    if len(data) > most_bytes:
        message = f"{str(path)!r} is larger than {most_bytes} bytes, the most that is read."
        raise UsageError(message)
    try:
        return parse_json(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        message = f"{str(path)!r} is not UTF-8 text: byte {error.start + 1} cannot be decoded."
        raise UsageError(message) from error
    except UsageError as error:
        message = f"{str(path)!r}: {error}"
        raise UsageError(message) from error


def parse_json(text: str) -> Any:
    """Return a JSON value.

    Raises
        UsageError, if the text is no JSON, nests too deeply, repeats a key, or has a number that is nan, infinite or too long.

    >>> parse_json('{"a": [1, 2]}')
    {'a': [1, 2]}
    """
    _refuse_depth(text)
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=_integer)
    except (json.JSONDecodeError, RecursionError) as error:
        message = f"not JSON: {error}."
        raise UsageError(message) from error


def _refuse_depth(text: str) -> None:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match.group(), 0)
        if depth > MOST_NESTED:
            message = f"brackets nest deeper than {MOST_NESTED}, the most that is read."
            raise UsageError(message)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            message = f"the key {shortened(key)} occurs twice in one object."
            raise UsageError(message)
        result[key] = value
    return result


def _refuse_constant(name: str) -> Any:
    message = f"{name} is no number of JSON, and not exact."
    raise UsageError(message)


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        message = f"the integer {shortened(digits)} has {len(digits)} characters; at most {MOST_DIGITS} are read."
        raise UsageError(message)
    return int(digits)


def shortened(value: object, limit: int = 40) -> str:
    """Return a value for a message, on one line and not long.

    >>> shortened("a" * 100)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."
    """
    shown = ascii(value)
    return shown if len(shown) <= limit else f"{shown[: limit - 3]}..."


@cache
def schema(kind: str) -> Mapping[str, Any]:
    """Return one of the JSON Schemas of the package, such as "problem-1".

    >>> schema("problem-1")["properties"]["schema"]["const"]
    'gradproof/problem/1'
    """
    text = resources.files("derive.verdicts").joinpath("schemas", f"{kind}.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def kinds() -> list[str]:
    """Return the kinds of documents, in alphabetical order: "oracle" stands for gradproof/oracle/1.

    >>> "oracle" in kinds(), "verdict" in kinds()
    (True, True)
    """
    ending = f"-{VERSION}.json"
    files = resources.files("derive.verdicts").joinpath("schemas").iterdir()
    return sorted(file.name.removesuffix(ending) for file in files if file.name.endswith(ending))


def schema_of(kind: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a kind of document, with each schema that it refers to among its definitions.

    Raises
        UsageError, if there is no such kind.

    >>> schema_of("variances")["$defs"]["urn:gradproof:variance:1"]["title"]
    'The answer of gradproof variance NAME --json'
    """
    known = kinds()
    if kind not in known:
        message = f"no document is of the kind {shortened(kind)}; the kinds are {', '.join(known)}."
        raise UsageError(message)
    root = dict(schema(f"{kind}-{VERSION}"))
    wanted = set(_refers(root))
    others = {_URN.format(other): dict(schema(f"{other}-{VERSION}")) for other in known if _URN.format(other) in wanted}
    return root | {"$defs": {**root.get("$defs", {}), **others}} if others else root


def _refers(value: Any) -> Iterator[str]:
    """Yield what a schema refers to."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if key == "$ref":
            yield inner
        yield from _refers(inner)


def validate(value: Any, kind: str) -> None:
    """Check a value against one of the JSON Schemas of the package.

    Raises
        UsageError, where the value does not fit; the message says where, what was found and what is expected.
        GradproofError, if the schema uses a keyword that this check does not know.
    """
    root = schema(kind)
    _check(value, root, root, "the document")


def _check(value: Any, rule: Mapping[str, Any], root: Mapping[str, Any], where: str) -> None:
    unknown = set(rule) - _CHECKED - _DESCRIBING
    if unknown:
        message = f"the schema uses {', '.join(sorted(unknown))}, which this check does not know."
        raise GradproofError(message)
    if "$ref" in rule:
        _check(value, root["$defs"][rule["$ref"].removeprefix("#/$defs/")], root, where)
    if "const" in rule and (type(value) is not type(rule["const"]) or value != rule["const"]):
        raise _unfit(where, json.dumps(rule["const"]), value)
    if "type" in rule and not _has_type(value, rule["type"]):
        raise _unfit(where, f"of type {rule['type']}", value)
    if "oneOf" in rule:
        _check_one_of(value, rule["oneOf"], root, where)
    if isinstance(value, dict):
        _check_object(value, rule, root, where)
    if isinstance(value, list):
        _check_list(value, rule, root, where)
    if isinstance(value, str):
        _check_string(value, rule, where)
    if isinstance(value, int) and not rule.get("minimum", value) <= value <= rule.get("maximum", value):
        raise _unfit(where, f"from {rule.get('minimum')} to {rule.get('maximum')}", value)


def _has_type(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _check_one_of(value: Any, rules: list[Mapping[str, Any]], root: Mapping[str, Any], where: str) -> None:
    wrong = []
    for rule in rules:
        try:
            _check(value, rule, root, where)
        except UsageError as error:
            wrong.append(str(error).rstrip("."))
    if len(wrong) != len(rules) - 1:
        fits = "more than one of its forms" if len(wrong) < len(rules) else "none of its forms"
        message = f"{where} has {fits}: {'; or '.join(wrong) or 'all fit'}."
        raise UsageError(message)


def _check_object(value: dict[str, Any], rule: Mapping[str, Any], root: Mapping[str, Any], where: str) -> None:
    properties = rule.get("properties", {})
    missing = [name for name in rule.get("required", ()) if name not in value]
    if missing:
        message = f"{where} lacks {', '.join(missing)}."
        raise UsageError(message)
    for name, inner in value.items():
        if name in properties:
            _check(inner, properties[name], root, name if where == "the document" else f"{where}.{name}")
        elif rule.get("additionalProperties") is False:
            message = f"{where} has no key {shortened(name)}; it has {', '.join(properties)}."
            raise UsageError(message)


def _check_list(value: list[Any], rule: Mapping[str, Any], root: Mapping[str, Any], where: str) -> None:
    least, most = rule.get("minItems", 0), rule.get("maxItems", len(value))
    if not least <= len(value) <= most:
        message = f"{where} must have from {least} to {most} entries; it has {len(value)}."
        raise UsageError(message)
    for number, inner in enumerate(value, 1):
        _check(inner, rule.get("items", {}), root, f"entry {number} of {where}")


def _check_string(value: str, rule: Mapping[str, Any], where: str) -> None:
    if len(value) > rule.get("maxLength", len(value)):
        message = f"{where} has {len(value)} characters; at most {rule['maxLength']} are read."
        raise UsageError(message)
    if "pattern" in rule and not re.fullmatch(rule["pattern"], value):
        raise _unfit(where, rule.get("description", f"a string that matches {rule['pattern']}"), value)


def _unfit(where: str, expected: str, value: Any) -> UsageError:
    return UsageError(f"{where} must be {expected}; got {shortened(value)}.")
