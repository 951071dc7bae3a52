"""A compact description of a workflow: nodes with their inputs, in titled groups, in columns from left to right.

    graph = Graph("demo")
    graph.group("Models", column=1)                                # holds all nodes up to the next group
    vae = graph.add("VAELoader", vae_name="wan_2.1_vae.safetensors")
    decoded = graph.add("VAEDecode", samples=latent, vae=vae)      # a node stands for its first output,
    graph.add("PreviewAny", source=identities[3])                  # node[n] for another one

`api` gives the API format, `ui_format.ui` the UI format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ACTIVE, MUTED = 0, 2  # LiteGraph's node modes


@dataclass(frozen=True)
class Output:
    node: Node
    slot: int


@dataclass(eq=False)
class Node:
    """`inputs` are values, or Output for a link. `models` are the files that a loader needs."""

    id: int
    type: str
    title: str | None
    inputs: dict[str, Any]
    mode: int
    size: tuple[int, int] | None
    models: list[dict[str, str]]

    def __getitem__(self, slot: int) -> Output:
        return Output(self, slot)


@dataclass(eq=False)
class Group:
    title: str
    column: int
    muted: bool
    nodes: list[Node] = field(default_factory=list)


class Graph:
    def __init__(self, name: str) -> None:
        self.name = name
        self.groups: list[Group] = []

    @property
    def nodes(self) -> list[Node]:
        return [node for group in self.groups for node in group.nodes]

    def group(self, title: str, column: int, *, muted: bool = False) -> None:
        """Begin a box; its nodes are stacked, and several boxes of a column stand under each other."""
        self.groups.append(Group(title, column, muted))

    def add(self, type: str, /, *, title: str | None = None, size: tuple[int, int] | None = None,
            models: tuple[dict[str, str], ...] = (), **inputs: Any) -> Node:
        group = self.groups[-1]
        linked = {name: value[0] if isinstance(value, Node) else value for name, value in inputs.items()}
        node = Node(len(self.nodes) + 1, type, title, linked, MUTED if group.muted else ACTIVE, size, list(models))
        group.nodes.append(node)
        return node

    def note(self, title: str, text: str, size: tuple[int, int]) -> Node:
        return self.add("MarkdownNote", title=title, size=size, text=text)


def api(graph: Graph, object_info: dict, *, muted: bool = False) -> dict[str, dict]:
    """API format, with every widget's value, as the frontend writes it. `muted` brings the muted groups along."""
    prompt = {}
    for node in graph.nodes:
        if node.type == "MarkdownNote" or (node.mode == MUTED and not muted):
            continue
        info = object_info[node.type]
        inputs = {name: given(node, name, spec) for name, spec in widgets(info).items()}
        links = {name: value for name, value in node.inputs.items() if isinstance(value, Output)}
        # and what only later versions of a node ask for
        inputs |= {name: value for name, value in node.inputs.items() if name not in links}
        inputs |= {name: [str(value.node.id), value.slot] for name, value in links.items()}
        prompt[str(node.id)] = {"inputs": inputs, "class_type": node.type, "_meta": {"title": title(node, info)}}
    return prompt


def title(node: Node, info: dict) -> str:
    return node.title or info["display_name"] or info["name"]


def given(node: Node, name: str, spec: list) -> Any:
    """The value of a widget: as described, or its default. A linked one has its default behind the link."""
    value = node.inputs.get(name)
    if name in node.inputs and not isinstance(value, Output):
        return value
    options = spec[1] if len(spec) > 1 else {}
    if "default" in options:
        return options["default"]
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
