"""Graph -> UI format (version 0.4): what the frontend loads, with positions, sizes and the template's model links."""

from __future__ import annotations

import uuid
from dataclasses import astuple, dataclass
from typing import Any

from .core_nodes import LATER, LATER_VERSION
from .graph import Graph, Group, Node, Output, Port, Subgraph, given, growing, sockets_and_widgets, widgets

CORE_VERSION = "0.27.0"
PACK_ID = "scail2"

# pixels of the canvas; rows leave room for the taller nodes of the new renderer
_WIDTH, _ROW, _NODE_TITLE, _NODE_GAP = 340, 28, 30, 36
_GROUP_TITLE, _PADDING, _COLUMN_GAP, _GROUP_GAP = 40, 24, 60, 50
_PREVIEW = 250  # room for the picture of nodes that show one
_SHOWS_PICTURE = {"LoadImage", "LoadVideo", "SaveVideo", "PreviewImage", "MaskPreview", "SCAIL2Identities"}
_PANELS = {"SCAIL2MotionTransfer": 170, "SCAIL2SampleVideo": 170}  # room for what js/ puts under the widgets
_GROUP_COLOUR, _MUTED_COLOUR = "#3f789e", "#555555"
_UPLOADS = ("image_upload", "video_upload")


def ui(graph: Graph, object_info: dict, pack_version: str) -> dict[str, Any]:
    form = Form(object_info, pack_version)
    hosts = [node for node in graph.nodes if node.inside is not None]
    insides = [form.subgraph(node.inside) for node in hosts if node.inside is not None]
    nodes, links, groups = form.parts(graph)
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PACK_ID}/workflows/{graph.name}")),
        "revision": 0,
        "last_node_id": max(node["id"] for part in (nodes, *(inside["nodes"] for inside in insides)) for node in part),
        "last_link_id": max(link for part in ((one.id for one in links), *(
            (one["id"] for one in inside["links"]) for inside in insides)) for link in part),
        "nodes": nodes,
        "links": [[*astuple(link)] for link in links],
        "groups": groups,
        **({"definitions": {"subgraphs": insides}} if insides else {}),
        "config": {},
        "extra": {} if graph.app is None else {"linearData": _app(*graph.app), "linearMode": True},
        "version": 0.4,
    }


def _app(inputs: list[tuple[Node, str]], outputs: list[Node]) -> dict[str, list]:
    """The form that the frontend makes of a workflow. Of a subgraph's widget it wants the first node that it reaches
    inside."""
    return {"inputs": [_first_inside(node, name) if node.inside else [str(node.id), name] for node, name in inputs],
            "outputs": [str(node.id) for node in outputs]}


def _first_inside(host: Node, port: str) -> list[str]:
    assert host.inside is not None
    return next([str(node.id), name] for node in host.inside.nodes for name, value in node.inputs.items()
                if isinstance(value, Port) and value.name == port)


@dataclass(frozen=True)
class Link:
    id: int
    origin: int
    origin_slot: int
    target: int
    target_slot: int
    kind: str


_INPUTS, _OUTPUTS = -10, -20  # what the frontend calls the two ends of a subgraph


@dataclass
class Form:
    """Graphs as the frontend saves them, by what is known of their nodes."""

    info: dict
    pack_version: str

    def parts(self, graph: Graph) -> tuple[list[dict], list[Link], list[dict]]:
        """Nodes, links and groups."""
        places = _places(graph, self.info)
        links = self.links(graph)
        order = {node.id: position for position, node in enumerate(_execution_order(graph))}
        nodes = [_node(node, self.info, places[node.id], links, order[node.id], self.pack_version)
                 for node in graph.nodes]
        groups = [_group(index, group, places) for index, group in enumerate(graph.groups, graph.first_id)
                  if group.title]
        return nodes, links, groups

    def links(self, graph: Graph) -> list[Link]:
        links: list[Link] = []
        first = 10 * graph.first_id if isinstance(graph, Subgraph) else 1  # no number twice in a file
        for node in graph.nodes:
            for slot, (name, kind, _, _) in enumerate(_slots(node, self.info)):
                source, origin = node.inputs.get(name), None
                if isinstance(source, Output):
                    origin = source.node.id, source.slot
                    kind = self.info[source.node.type]["output"][source.slot]
                elif isinstance(source, Port) and isinstance(graph, Subgraph):
                    origin = _INPUTS, list(graph.given).index(source.name)
                    kind = self.port(graph, source.name)[0]
                if origin is not None:
                    links.append(Link(first + len(links), *origin, node.id, slot, kind))
        for slot, source in enumerate(graph.outputs.values() if isinstance(graph, Subgraph) else ()):
            kind = self.info[source.node.type]["output"][source.slot]
            links.append(Link(first + len(links), source.node.id, source.slot, _OUTPUTS, slot, kind))
        return links

    def port(self, graph: Subgraph, name: str) -> list:
        """What a subgraph takes, described as a node's input is."""
        value = graph.given[name].value
        if isinstance(value, Output):
            return [self.info[value.node.type]["output"][value.slot], {}]
        node, slot = _inner(graph, name)
        kind = sockets_and_widgets(self.info[node.type])[slot][0]
        return ["COMBO" if isinstance(kind, list) else kind, {}]

    def optional(self, graph: Subgraph, name: str) -> bool:
        """Whether what a subgraph takes is optional inside."""
        node, slot = _inner(graph, name)
        return slot in self.info[node.type]["input"].get("optional", {})

    def subgraph(self, graph: Subgraph) -> dict[str, Any]:
        """The definition, after which the node that holds it is known as any other is."""
        ports = {name: self.port(graph, name) for name in graph.given}
        outputs = {name: self.info[source.node.type]["output"][source.slot] for name, source in graph.outputs.items()}
        needed = {name: port for name, port in ports.items() if not self.optional(graph, name)}
        self.info = self.info | {graph.host.type: {
            "input": {"required": needed, "optional": {name: ports[name] for name in ports if name not in needed}},
            "output": list(outputs.values()), "output_name": list(outputs),
            "display_name": graph.name, "name": graph.name}}
        nodes, links, groups = self.parts(graph)
        height = 24 * max(len(ports), len(outputs)) + 48
        right = max(node["pos"][0] + node["size"][0] for node in nodes)
        return {
            "id": graph.host.type, "version": 1,
            "state": {"lastGroupId": groups[-1]["id"], "lastNodeId": nodes[-1]["id"], "lastLinkId": links[-1].id,
                      "lastRerouteId": 0},
            "revision": 0, "config": {}, "name": graph.name,
            "inputNode": {"id": _INPUTS, "bounding": [-320, 0, 200, height]},
            "outputNode": {"id": _OUTPUTS, "bounding": [right + 120, 0, 200, height]},
            "inputs": [_end(graph, name, kind[0], [link.id for link in links if (link.origin, link.origin_slot) ==
                                                   (_INPUTS, slot)], [-140, 24 * slot + 24])
                       for slot, (name, kind) in enumerate(ports.items())],
            "outputs": [_end(graph, name, kind, [link.id for link in links if (link.target, link.target_slot) ==
                                                 (_OUTPUTS, slot)], [right + 140, 24 * slot + 24])
                        for slot, (name, kind) in enumerate(outputs.items())],
            "widgets": [], "nodes": nodes, "groups": groups,
            "links": [{"id": link.id, "origin_id": link.origin, "origin_slot": link.origin_slot,
                       "target_id": link.target, "target_slot": link.target_slot, "type": link.kind} for link in links],
            "extra": {},
        }


def _inner(graph: Subgraph, name: str) -> tuple[Node, str]:
    """The first node inside that takes what the subgraph takes, and its input."""
    return next((node, slot) for node in graph.nodes for slot, inside in node.inputs.items()
                if inside == graph.given[name])


def _end(graph: Subgraph, name: str, kind: str, links: list[int], place: list[int]) -> dict[str, Any]:
    return {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{graph.host.type}/{name}/{kind}")), "name": name, "type": kind,
            "linkIds": links, "pos": place}


def _node(node: Node, object_info: dict, place: tuple[int, int, int, int], links: list[Link], order: int,
          pack_version: str) -> dict[str, Any]:
    x, y, width, height = place
    core = not node.type.startswith("SCAIL2")
    properties: dict[str, Any] = {"cnr_id": "comfy-core" if core else PACK_ID,
                                  "ver": _version(node) if core else pack_version,
                                  "Node name for S&R": node.type}
    if node.inside is not None:
        properties = {"proxyWidgets": [_first_inside(node, name) for name, value in node.inputs.items()
                                       if not isinstance(value, Output)]}
    if node.models:
        properties["models"] = node.models
    entry = {"id": node.id, "type": node.type, "pos": [x, y], "size": [width, height], "flags": {}, "order": order,
             "mode": node.mode, "inputs": _inputs(node, object_info, links),
             "outputs": _outputs(node, object_info, links)}
    if node.title:
        entry["title"] = node.title
    entry |= {"properties": properties, "widgets_values": _widget_values(node, object_info)}
    if node.type == "MarkdownNote":
        entry |= {"color": "#222", "bgcolor": "#000"}
    return entry


def _version(node: Node) -> str:
    return LATER_VERSION if node.type in LATER else CORE_VERSION


def _inputs(node: Node, object_info: dict, links: list[Link]) -> list[dict[str, Any]]:
    by_slot = {link.target_slot: link.id for link in links if link.target == node.id}
    entries = []
    for slot, (name, kind, optional, widget) in enumerate(_slots(node, object_info)):
        entry: dict[str, Any] = {"name": name, "type": kind, "link": by_slot.get(slot)}
        if name in node.labels:
            entry["label"] = node.labels[name]
        if optional:
            entry["shape"] = 7
        if widget:
            entry["widget"] = {"name": name}
        entries.append(entry)
    return entries


def _outputs(node: Node, object_info: dict, links: list[Link]) -> list[dict[str, Any]]:
    if node.type == "MarkdownNote":
        return []
    info = object_info[node.type]
    return [{"name": name, "type": kind,
             "links": [link.id for link in links if (link.origin, link.origin_slot) == (node.id, slot)] or None}
            for slot, (name, kind) in enumerate(zip(info["output_name"], info["output"], strict=True))]


def _slots(node: Node, object_info: dict) -> list[tuple[str, str, bool, bool]]:
    """Inputs as the frontend saves them (name, type, optional, is a widget): sockets, then widgets."""
    if node.type == "MarkdownNote":
        return []
    info = object_info[node.type]
    optional = info["input"].get("optional", {})
    slots, with_widget = [], []
    for name, spec in sockets_and_widgets(info).items():
        grown = growing(name, spec)
        if grown:
            # the frontend keeps one free part behind the connected ones
            count = sum(part in node.inputs for part in grown.parts)
            slots += [(part, grown.kind, index >= grown.least, False)
                      for index, part in enumerate(grown.parts[: count + 1])]
        elif name not in widgets(info):
            slots.append((name, spec[0], name in optional, False))
        else:
            with_widget.append((name, "COMBO" if isinstance(spec[0], list) else spec[0], name in optional, True))
            if _is_upload(spec):
                with_widget.append(("upload", "IMAGEUPLOAD", False, True))
    return slots + with_widget


def _is_upload(spec: list) -> bool:
    return len(spec) > 1 and any(spec[1].get(upload) for upload in _UPLOADS)


def _widget_values(node: Node, object_info: dict) -> list[Any]:
    if node.type == "MarkdownNote":
        return [node.inputs["text"]]
    values = []
    for name, spec in widgets(object_info[node.type]).items():
        options = spec[1] if len(spec) > 1 else {}
        values.append(given(node, name, spec))
        if options.get("control_after_generate"):
            values.append("fixed")
        if _is_upload(spec):
            values.append("image")  # the upload button's value, for videos too
    return values


def _execution_order(graph: Graph) -> list[Node]:
    done: dict[int, Node] = {}

    def visit(node: Node) -> None:
        if node.id in done:
            return
        for value in node.inputs.values():
            if isinstance(value, Output):
                visit(value.node)
        done[node.id] = node

    for node in graph.nodes:
        visit(node)
    return list(done.values())


def _places(graph: Graph, object_info: dict) -> dict[int, tuple[int, int, int, int]]:
    """node id -> x, y, width, height; columns side by side, their groups and the groups' nodes under each other."""
    places = {}
    x = 0
    for column in sorted({group.column for group in graph.groups}):
        groups = [group for group in graph.groups if group.column == column]
        width = max(_size(node, object_info)[0] for group in groups for node in group.nodes)
        y = 0
        for group in groups:
            y += _GROUP_TITLE if group.title else 0
            for node in group.nodes:
                y += _NODE_TITLE
                height = _size(node, object_info)[1]
                places[node.id] = (x, y, width, height)
                y += height + _NODE_GAP
            y += _GROUP_GAP + _PADDING - _NODE_GAP
        x += width + 2 * _PADDING + _COLUMN_GAP
    return places


def _size(node: Node, object_info: dict) -> tuple[int, int]:
    if node.size:
        return node.size
    info = object_info[node.type]
    sockets = max(sum(not widget for *_, widget in _slots(node, object_info)), len(info["output"]))
    rows = sockets + len(_widget_values(node, object_info))
    return _WIDTH, rows * _ROW + 50 + (_PREVIEW if node.type in _SHOWS_PICTURE else 0) + _PANELS.get(node.type, 0)


def _group(index: int, group: Group, places: dict) -> dict[str, Any]:
    boxes = [places[node.id] for node in group.nodes]
    left, top = boxes[0][0] - _PADDING, boxes[0][1] - _NODE_TITLE - _GROUP_TITLE
    right, bottom = left + boxes[0][2] + 2 * _PADDING, boxes[-1][1] + boxes[-1][3] + _PADDING
    return {"id": index, "title": group.title, "bounding": [left, top, right - left, bottom - top],
            "color": _MUTED_COLOUR if group.muted else _GROUP_COLOUR, "flags": {}}
