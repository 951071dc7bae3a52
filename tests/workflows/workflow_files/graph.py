"""A compact description of a workflow: nodes with their inputs, in titled groups, in columns from left to right.

    graph = Graph("demo")
    graph.group("Models", column=1)                                # holds all nodes up to the next group
    vae = graph.add("VAELoader", vae_name="wan_2.1_vae.safetensors")
    decoded = graph.add("VAEDecode", samples=latent, vae=vae)      # a node stands for its first output,
    graph.add("PreviewAny", source=identities[3])                  # node[n] for another one

A node can hold a graph of its own, a subgraph, that shows outside only what is given to it and what it gives:

    box = graph.subgraph("Animate", picture=loaded, width=896)     # links become sockets, values widgets
    box.group("Inside", column=1)
    encoded = box.add("...", image=box.given["picture"], width=box.given["width"])
    box.gives(latent=encoded)
    graph.add("VAEDecode", samples=box.host)

`api` gives the API format, `ui_format.ui` the UI format.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

ACTIVE, MUTED = 0, 2  # LiteGraph's node modes


@dataclass(frozen=True)
class Output:
    node: Node
    slot: int


@dataclass(frozen=True)
class Port:
    """An input of a subgraph, as its nodes see it. value: what is given from outside, a link or a widget's value."""

    name: str
    value: Any


@dataclass(eq=False)
class Node:
    """`inputs` are values, Output for a link, or Port for what comes into the subgraph. `models` are the files that a
    loader needs. `inside` is the graph of a subgraph. `labels`: input -> what the page calls it."""

    id: int
    type: str
    title: str | None
    inputs: dict[str, Any]
    mode: int
    size: tuple[int, int] | None
    models: list[dict[str, str]]
    inside: Subgraph | None = None
    labels: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, slot: int) -> Output:
        return Output(self, slot)


@dataclass(eq=False)
class Group:
    title: str
    column: int
    muted: bool
    nodes: list[Node] = field(default_factory=list)


class Graph:
    def __init__(self, name: str, first_id: int = 1) -> None:
        self.name, self.first_id = name, first_id
        self.groups: list[Group] = []
        self.app: tuple[list[tuple[Node, str]], list[Node]] | None = None  # its form: fields, and nodes with results

    @property
    def nodes(self) -> list[Node]:
        return [node for group in self.groups for node in group.nodes]

    @property
    def types(self) -> set[str]:
        """The node types that a server must know, those in subgraphs too."""
        own = {node.type for node in self.nodes if node.inside is None} - {"MarkdownNote"}
        return own.union(*(node.inside.types for node in self.nodes if node.inside is not None))

    def group(self, title: str, column: int, *, muted: bool = False) -> None:
        """Begin a box; its nodes are stacked, and several boxes of a column stand under each other."""
        self.groups.append(Group(title, column, muted))

    def add(self, type: str, /, *, title: str | None = None, size: tuple[int, int] | None = None,
            models: tuple[dict[str, str], ...] = (), **inputs: Any) -> Node:
        group = self.groups[-1]
        node = Node(len(self.nodes) + self.first_id, type, title, _linked(inputs), MUTED if group.muted else ACTIVE,
                    size, list(models))
        group.nodes.append(node)
        return node

    def subgraph(self, name: str, /, *, size: tuple[int, int], **given: Any) -> Subgraph:
        """A node with a graph of its own; `given`: its inputs, links first."""
        host = self.add(str(uuid.uuid5(uuid.NAMESPACE_URL, f"scail2/{self.name}/{name}")), size=size, **given)
        host.inside = Subgraph(name, host)
        return host.inside

    def note(self, title: str, text: str, size: tuple[int, int]) -> Node:
        return self.add("MarkdownNote", title=title, size=size, text=text)


class Subgraph(Graph):
    """The graph in a node. Its nodes' numbers do not occur outside, as the frontend wants it."""

    def __init__(self, name: str, host: Node) -> None:
        super().__init__(name, first_id=100 * host.id + 1)
        self.host = host
        self.given = {name: Port(name, value) for name, value in host.inputs.items()}
        self.outputs: dict[str, Output] = {}

    def gives(self, **outputs: Node | Output) -> None:
        self.outputs = _linked(outputs)


def _linked(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value[0] if isinstance(value, Node) else value for name, value in inputs.items()}


def api(graph: Graph, object_info: dict, *, muted: bool = False) -> dict[str, dict]:
    """API format, with every widget's value, as the frontend writes it. `muted` brings the muted groups along."""
    prompt = {}
    for address, node, host in _running(graph, muted):
        info = object_info[node.type]
        inputs = {name: given(node, name, spec) for name, spec in widgets(info).items()}
        # with what only later versions of a node ask for; links last
        posted = {name: _posted(value, host) for name, value in node.inputs.items()}
        inputs |= dict(sorted(posted.items(), key=lambda entry: isinstance(entry[1], list)))
        prompt[address] = {"inputs": inputs, "class_type": node.type, "_meta": {"title": title(node, info)}}
    return prompt


def _running(graph: Graph, muted: bool, host: Node | None = None) -> Iterator[tuple[str, Node, Node | None]]:
    """(address, node, the node of the subgraph that it is in) of all that run."""
    for node in graph.nodes:
        if node.type == "MarkdownNote" or (node.mode == MUTED and not muted):
            continue
        if node.inside is not None:
            yield from _running(node.inside, muted, node)
        else:
            yield _address(node, host), node, host


def _address(node: Node, host: Node | None) -> str:
    return str(node.id) if host is None else f"{host.id}:{node.id}"


def _posted(value: Any, host: Node | None) -> Any:
    """A value, or a link through the walls of subgraphs."""
    if isinstance(value, Port):
        return _posted(value.value, None)
    if not isinstance(value, Output):
        return value
    if value.node.inside is not None:
        return _posted(list(value.node.inside.outputs.values())[value.slot], value.node)
    return [_address(value.node, host), value.slot]


def title(node: Node, info: dict) -> str:
    return node.title or info["display_name"] or info["name"]


def given(node: Node, name: str, spec: list) -> Any:
    """The value of a widget: as described, or its default. A linked one has its default behind the link."""
    value = node.inputs.get(name)
    if isinstance(value, Port):
        value = value.value
    if name in node.inputs and not isinstance(value, Output):
        return value
    options = spec[1] if len(spec) > 1 else {}
    if "default" in options:
        return options["default"]
    if isinstance(value, Output) and spec[0] == "STRING":
        return ""
    raise KeyError(f"{node.type} {node.id}: {name} has no default, so it must be given")


def widgets(info: dict) -> dict[str, list]:
    """The inputs of an /object_info entry that are widgets, in the frontend's order: required ones first."""
    return {name: spec for name, spec in sockets_and_widgets(info).items() if is_widget(spec)}


def sockets_and_widgets(info: dict) -> dict[str, list]:
    return {**info["input"].get("required", {}), **info["input"].get("optional", {})}


def is_widget(spec: list) -> bool:
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    return (isinstance(kind, list) or kind in ("COMBO", "INT", "FLOAT", "STRING", "BOOLEAN")) and not options.get(
        "forceInput")


@dataclass(frozen=True)
class Growing:
    """An input that grows as it is connected. parts: the names of its parts in order; least: how many there must be."""

    parts: tuple[str, ...]
    kind: str
    least: int


def growing(name: str, spec: list) -> Growing | None:
    """None for an input that does not grow."""
    if spec[0] != "COMFY_AUTOGROW_V3":
        return None
    template = spec[1]["template"]
    ((kind, *_),) = template["input"]["required"].values()
    parts = template["names"] if "names" in template else [f"{template['prefix']}{index}"
                                                           for index in range(template["max"])]
    return Growing(tuple(f"{name}.{part}" for part in parts), kind, template["min"])


def variants(spec: list) -> dict[str, dict] | None:
    """Of a choice that brings inputs of its own: what it offers -> {"input": those inputs}. None for another input."""
    if spec[0] != "COMFY_DYNAMICCOMBO_V3":
        return None
    return {option["key"]: {"input": option["inputs"]} for option in spec[1]["options"]}
