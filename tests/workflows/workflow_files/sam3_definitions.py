"""Workflows without mask files: core's SAM 3.1 nodes find the people, by a word or by points."""

from __future__ import annotations

from . import notes
from .graph import Graph, Node
from .parts import OFFICIAL, Loaded, bind_found, models, prompts, sam3_model, sample, start

TRACKER = {"detection_threshold": 0.5, "detect_interval": 1}
_ANYBODY = "person"
# head and chest: with the chest alone SAM3 may take the shirt
_DRIVING_POINTS = '[{"x": 253, "y": 102}, {"x": 253, "y": 230}]'
_REFERENCE_POINTS = '[{"x": 448, "y": 102}, {"x": 448, "y": 230}]'


def sam3_one_person() -> Graph:
    return _by_word("sam3_one_person", notes.SAM3_ONE_PERSON, 1260, people=1)


def sam3_several_people() -> Graph:
    graph = _by_word("sam3_several_people", notes.SAM3_SEVERAL_PEOPLE, 1730, people=2, order="left to right",
                     binding="1:1, 2:2", names="Anna, Ben", save=True)
    graph.group("Saved tracks (instead of following)", column=3, muted=True)
    graph.add("SCAIL2LoadTracks", title="Saved tracks", file=f"{graph.name}.safetensors")
    return graph


def _by_word(name: str, note: str, height: int, *, people: int, **binding) -> Graph:
    """One word for everybody, in animation."""
    graph, loaded, sam3 = _start(name, note, height)
    reference, driving, frames = _files(graph)
    graph.group("Find the people", column=3)
    word = graph.add("CLIPTextEncode", title="Whom to find", clip=sam3[1], text=_ANYBODY, size=(340, 120))
    found = tuple(graph.add("SAM3_VideoTrack", title=title, images=images, model=sam3, conditioning=word,
                            max_objects=people, **TRACKER)
                  for title, images in (("Follow in the driving video", frames), ("Find in the reference", reference)))
    _finish(graph, loaded, driving, (frames, reference), found, "animation", **binding)
    return graph


def sam3_points() -> Graph:
    graph, loaded, sam3 = _start("sam3_points", notes.SAM3_POINTS, 1260)
    reference, driving, frames = _files(graph)
    graph.group("Point at the person to replace", column=3)
    first = graph.add("ImageFromBatch", title="First driving frame", image=frames, batch_index=0, length=1)
    person = _pick(graph, sam3, first, "Points in the first driving frame", _DRIVING_POINTS)
    followed = graph.add("SAM3_VideoTrack", title="Follow in the driving video", images=frames, model=sam3,
                         initial_mask=person, max_objects=1, **TRACKER)
    graph.group("Point at the new character", column=3)
    character = _pick(graph, sam3, reference, "Points in the reference picture", _REFERENCE_POINTS)
    _finish(graph, loaded, driving, (frames, reference), (followed, character), "replacement", reframe=True)
    return graph


def _pick(graph: Graph, sam3: Node, picture: Node, title: str, points: str) -> Node:
    text = graph.add("PrimitiveStringMultiline", title=title, value=points, size=(340, 120))
    mask = graph.add("SAM3_Detect", title="What is under the points", model=sam3, image=picture, positive_coords=text,
                     threshold=0.5, refine_iterations=2, individual_masks=False)
    graph.add("MaskPreview", title="Picked", mask=mask, size=(340, 260))
    return mask


def _start(name: str, note: str, height: int) -> tuple[Graph, Loaded, Node]:
    graph = start(name, note, notes.SAM3, height=height)
    loaded = models(graph)
    return graph, loaded, sam3_model(graph)


def _files(graph: Graph) -> tuple[Node, Node, Node]:
    """Reference, driving video, its frames."""
    graph.group("Reference and driving video", column=2)
    reference = graph.add("LoadImage", title="Reference picture", image="reference.png")
    driving = graph.add("LoadVideo", title="Driving video", file="driving.mp4")
    return reference, driving, graph.add("GetVideoComponents", title="Driving video, frames", video=driving)


def _finish(graph: Graph, loaded: Loaded, driving: Node, pictures: tuple[Node, Node], found: tuple[Node, ...],
            mode: str, **settings) -> None:
    texts = prompts(graph, loaded, column=4)
    identities, reference = bind_found(graph, loaded, pictures, found, mode, 4, **settings)
    sample(graph, loaded.model, texts, loaded.vae, driving, identities, reference, column=5, guidance=5.0, **OFFICIAL)
