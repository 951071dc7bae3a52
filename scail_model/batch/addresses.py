"""Inputs of a workflow by name: `ClassType.input`, or `"node title".input`, never by number.

An address means one input or it is refused, with those that it could mean. Graphs are in ComfyUI's API format.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

Prompt = Mapping[str, Mapping[str, Any]]
_SHOWN = 12  # candidates in a sentence


@dataclass(frozen=True)
class Place:
    """One input of one node."""

    node: str
    name: str


def find_input(prompt: Prompt, address: str, known: Callable[[str], Container[str]]) -> Place:
    """The input that an address means. known: by class, inputs that its nodes have though a file may not name them.

    ValueError, in one sentence, if there is none, or more than one, or if it is connected.
    """
    found, nodes = [], []
    for node, name in _meant(prompt, address):
        nodes.append(node)
        if name in prompt[node]["inputs"] or name in known(prompt[node]["class_type"]):
            found.append(Place(node, name))
    found = list(dict.fromkeys(found))
    if not found:
        raise ValueError(_nothing(prompt, address, nodes))
    if len(found) > 1:
        raise ValueError(f"{address} fits {len(found)} nodes of the workflow: {_choices(prompt, found)}")
    place, = found
    if is_link(value := prompt[place.node]["inputs"].get(place.name)):
        source = prompt.get(value[0], {})
        before = _texts(source)
        remedy = f"set {shown(prompt, Place(value[0], before[0]))} instead" if len(before) == 1 else (
            "set what goes into it, or disconnect it in the workflow")
        raise ValueError(f'{address} is connected to "{title(source)}" in the workflow: {remedy}.')
    return place


def find_node(prompt: Prompt, name: str) -> str:
    """The node of a title, in quotes or not, or of a class. ValueError, in one sentence, if there is none or more than
    one."""
    words = _unquoted(name)
    found = [node for node, about in prompt.items()
             if words == title(about) or (words == name and name == about["class_type"])]
    if not found:
        names = sorted({title(about) for about in prompt.values()})
        raise ValueError(f"output is {name}, but the workflow has no node of this title or class{_near(words, names)}")
    if len(found) > 1:
        raise ValueError(f"output is {name}, which {len(found)} nodes of the workflow are called: give the one that "
                         "you mean a title of its own in ComfyUI, and export the workflow again.")
    return found[0]


def shown(prompt: Prompt, place: Place) -> str:
    """The shortest address of an input; the node's title where none is of it alone."""
    about = prompt[place.node]
    for name in (about["class_type"], f'"{title(about)}"'):
        address = f"{name}.{place.name}"
        if {node for node, part in _meant(prompt, address)
                if part in prompt[node]["inputs"] or node == place.node} == {place.node}:
            return address
    return f'"{title(about)}".{place.name}'


def title(about: Mapping[str, Any]) -> str:
    """As the page shows it, or the node's class."""
    given = about.get("_meta") or {}
    return str(given.get("title") or about.get("class_type", ""))


def is_link(value: Any) -> bool:
    """Whether an input takes what another node gives."""
    return (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)
            and not isinstance(value[1], bool))


def _meant(prompt: Prompt, address: str) -> Iterator[tuple[str, str]]:
    """(node, input) of each way to read an address: names of both may have dots in them."""
    if address.startswith('"') and '".' in address[1:]:
        place = address.rindex('".')
        words, name = address[1:place], address[place + 2:]
        yield from ((node, name) for node, about in prompt.items() if title(about) == words)
        return
    for place in (index for index, letter in enumerate(address) if letter == "."):
        words, name = address[:place], address[place + 1:]
        yield from ((node, name) for node, about in prompt.items() if words in (about["class_type"], title(about)))


def _nothing(prompt: Prompt, address: str, nodes: list[str]) -> str:
    if nodes:
        about = prompt[nodes[0]]
        inputs = [name for name, value in about["inputs"].items() if not is_link(value)]
        given = f": it has {', '.join(inputs)}." if inputs else ", only connections: choose another node."
        near = get_close_matches(address.rsplit(".", 1)[-1], inputs, 1)
        return f'{address} is not an input of "{title(about)}"{f": is it {near[0]}?" if near else given}'
    words = _unquoted(address.rsplit(".", 1)[0])
    names = sorted({name for about in prompt.values() for name in (title(about), about["class_type"])})
    if address.startswith('"') and any(about["class_type"] == words for about in prompt.values()):
        return f"{address} names a title, which no node of the workflow has: leave the quotes out to mean the class."
    return f"{address} names no node of the workflow{_near(words, names)}"


def _near(words: str, names: list[str]) -> str:
    near = get_close_matches(words, names, 1) or [name for name in names if name.lower() == words.lower()]
    return f": is it {near[0]}?" if near else f": it has {', '.join(names[:_SHOWN])}{', ...' * (len(names) > _SHOWN)}."


def _choices(prompt: Prompt, found: list[Place]) -> str:
    addresses = [f'"{title(prompt[place.node])}".{place.name}' for place in found]
    if len(set(addresses)) < len(addresses):
        return ("all of them have one title: give each a title of its own in ComfyUI, and export the workflow again."
                if len(set(addresses)) == 1 else
                f"{', '.join(dict.fromkeys(addresses))}, some of which have one title: give each a title of its own in "
                "ComfyUI, and export the workflow again.")
    return f"{', '.join(addresses[:_SHOWN])}{', ...' * (len(addresses) > _SHOWN)}: write the one that you mean."


def _texts(about: Mapping[str, Any]) -> list[str]:
    """Inputs of a node that only holds a value, as core's primitives."""
    inputs = about.get("inputs", {})
    return list(inputs) if len(inputs) == 1 and not any(map(is_link, inputs.values())) else []


def _unquoted(name: str) -> str:
    return name[1:-1] if len(name) > 1 and name.startswith('"') and name.endswith('"') else name
