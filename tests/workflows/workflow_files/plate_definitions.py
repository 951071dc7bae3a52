"""The workflows that make a part of what was filmed large, and put it back."""

from __future__ import annotations

from . import plate_notes
from .graph import Graph
from .parts import OFFICIAL, SEED, bind_only, encode, files, models, prompts, start

PERSON_SIZE, FACE_SIZE = (512, 896), (512, 512)


def small_person() -> Graph:
    return _through_a_window("small_person", plate_notes.SMALL_PERSON, 1500, "Driving video", "person", PERSON_SIZE)


def face_pass() -> Graph:
    return _through_a_window("face_pass", plate_notes.FACE_PASS, 1480, "Finished video", "face", FACE_SIZE)


def _through_a_window(name: str, note: str, height: int, video: str, part: str, size: tuple[int, int]) -> Graph:
    graph = start(name, note, height=height)
    loaded, given = models(graph), files(graph, video)
    texts = prompts(graph, loaded)
    identities = bind_only(graph, given, "replacement", contradicting_background="repaint")
    graph.group("Through a window", column=5)
    crop = graph.add("SCAIL2CropPerson", driving=given.driving, identities=identities, person=1, width=size[0],
                     height=size[1], part=part, reference=given.reference, size=(460, 760))
    graph.add("PreviewAny", title="What the window shows", source=crop[5], size=(460, 200))
    graph.group("Who is made, and the size", column=6)
    reference = encode(graph, loaded, crop[3], crop[1], *size)
    graph.group("Sampling", column=7)
    made = graph.add("SCAIL2SampleVideo", model=loaded.model, positive=texts[0], negative=texts[1], vae=loaded.vae,
                     reference=reference, driving=crop[0], identities=crop[1], seed=SEED, guidance=5.0, **OFFICIAL)
    graph.group("Back where it was filmed", column=8)
    pasted = graph.add("SCAIL2PastePerson", video=made, crop=crop[2], filename_prefix=f"video/scail2_{name}",
                       size=(560, 560))
    graph.add("PreviewAny", title="Report", source=pasted[1], size=(560, 140))
    return graph
