"""JSON and YAML as a manifest needs them: with places, and without surprises.

YAML is read as version 1.2 says: `no` and `on` are words, a date is a text, only `true` and `false` are truths; and a
whole number with zeros before it stays a text, because it is somebody's number of a shot.
"""

from __future__ import annotations

import json
import re
from typing import Any

_QUOTED = re.compile(r'"[^"]+"\.\w+')  # an address of a title, which YAML takes for a text that ends too early
FORMS = (".json", ".yaml", ".yml")
_SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    "float": (r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)"
              r"|\.(?:nan|NaN|NAN)", "-+0123456789."),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "merge": (r"<<", "<"),
}


class Mapping(dict):
    """A mapping that knows in which line of its file it begins; 0 where that is not known."""

    line: int = 0


def read_document(name: str, text: str, suffix: str) -> tuple[Any, list[str]]:
    """The value of a document, and faults that do not stop its reading. ValueError, in one sentence with the place,
    where it cannot be read."""
    faults: list[str] = []
    try:
        return (_json if suffix == ".json" else _yaml)(name, text, faults), faults
    except RecursionError as error:
        raise ValueError(f"{name} is nested too deeply: a manifest has rows of plain values.") from error


def _json(name: str, text: str, faults: list[str]) -> Any:
    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        for key in found if len(found) < len(pairs) else ():
            if sum(other == key for other, _ in pairs) > 1:
                where = f' of "{found["id"]}"' if "id" in found else ""
                faults.append(f'{name}: the key "{key}"{where} stands there twice: keep one of them.')
        return found

    try:
        return json.loads(text, object_pairs_hook=mapping)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}, line {error.lineno}, column {error.colno}: it is not JSON ({error.msg}): correct "
                         "it there.") from error


def _yaml(name: str, text: str, faults: list[str]) -> Any:
    import yaml  # of the extra `batch`

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[Any, Any] = {}

        def construct_yaml_map(self, node):
            found = Mapping()
            found.line = node.start_mark.line + 1
            yield found
            _refuse_twice(name, node, faults)
            found.update(self.construct_mapping(node))

    Loader.add_constructor("tag:yaml.org,2002:map", Loader.construct_yaml_map)
    for kind, (pattern, first) in _SCALARS.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{pattern})$"), list(first))
    try:
        return yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        line = text.splitlines()[mark.line:mark.line + 1] if mark else []
        quoted = _QUOTED.search("".join(line))
        remedy = f"put the whole of it into quotes, as '{quoted[0]}'" if quoted else "correct it there"
        raise ValueError(f"{name}{where}: it is not YAML ({error.problem}): {remedy}.") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is not YAML ({str(error).splitlines()[0]}): correct it.") from error


def _refuse_twice(name: str, node: Any, faults: list[str]) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.value in lines and isinstance(key.value, str) and key.value != "<<":
            faults.append(f'{name}, line {line}: the key "{key.value}" stands there already, in line '
                          f"{lines[key.value]}: keep one of them.")
        if isinstance(key.value, str):
            lines[key.value] = line
