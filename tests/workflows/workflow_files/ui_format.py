"""Graph -> UI format (version 0.4): what the frontend loads, with positions, sizes and the template's model links."""

from __future__ import annotations

import uuid
from typing import Any

from .graph import Graph, Group, Node, Output, given, growing, sockets_and_widgets, widgets

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
    places = _places(graph, object_info)
    links = _links(graph, object_info)
    order = {node.id: position for position, node in enumerate(_execution_order(graph))}
    nodes = [_node(node, object_info, places[node.id], links, order[node.id], pack_version) for node in graph.nodes]
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PACK_ID}/workflows/{graph.name}")),
        "revision": 0,
        "last_node_id": max(node.id for node in graph.nodes),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": [[link, source.node.id, source.slot, target.id, slot, kind]
                  for link, (source, target, slot, kind) in links.items()],
        "groups": [_group(index, group, places) for index, group in enumerate(graph.groups, 1) if group.title],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _node(node: Node, object_info: dict, place: tuple[int, int, int, int], links: dict, order: int,
          pack_version: str) -> dict[str, Any]:
    x, y, width, height = place
    core = not node.type.startswith("SCAIL2")
    properties: dict[str, Any] = {"cnr_id": "comfy-core" if core else PACK_ID,
                                  "ver": CORE_VERSION if core else pack_version,
                                  "Node name for S&R": node.type}
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


def _inputs(node: Node, object_info: dict, links: dict) -> list[dict[str, Any]]:
    by_slot = {slot: link for link, (_, target, slot, _) in links.items() if target is node}
    entries = []
    for slot, (name, kind, optional, widget) in enumerate(_slots(node, object_info)):
        entry: dict[str, Any] = {"name": name, "type": kind, "link": by_slot.get(slot)}
        if optional:
            entry["shape"] = 7
        if widget:
            entry["widget"] = {"name": name}
        entries.append(entry)
    return entries


def _outputs(node: Node, object_info: dict, links: dict) -> list[dict[str, Any]]:
    if node.type == "MarkdownNote":
        return []
    info = object_info[node.type]
    return [{"name": name, "type": kind,
             "links": [link for link, (source, _, _, _) in links.items() if source.node is node and source.slot == slot]
             or None}
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


def _links(graph: Graph, object_info: dict) -> dict[int, tuple[Output, Node, int, str]]:
    links = {}
    for node in graph.nodes:
        for slot, (name, _, _, _) in enumerate(_slots(node, object_info)):
            source = node.inputs.get(name)
            if isinstance(source, Output):
                kind = object_info[source.node.type]["output"][source.slot]
                links[len(links) + 1] = (source, node, slot, kind)
    return links


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
