"""Workflows without mask files: core's SAM 3.1 nodes find the people, by a word or by points."""

from __future__ import annotations

from . import driving_notes, notes
from .graph import Graph, Node
from .parts import (
    OFFICIAL,
    SEED,
    Loaded,
    bind_found,
    encode,
    models,
    prompts,
    sam3_model,
    sample,
    save_video,
    start,
)

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


def from_core_nodes() -> Graph:
    """What core's template for replacement does, with its settings; titles say what each node takes the place of."""
    graph, loaded, sam3 = _start("from_core_nodes", notes.FROM_CORE_NODES, 1800)
    lora = graph.add("LoraLoaderModelOnly", title="Load LoRA (stays)", models=(notes.DISTILLED_LORA,),
                     model=loaded.model, lora_name=notes.DISTILLED_LORA["name"], strength_model=0.8)
    model = graph.add("ModelSamplingSD3", title="ModelSamplingSD3 (stays)", model=lora, shift=5.0)
    reference, driving, frames = _files(graph)
    graph.group("Find the people (stays)", column=3)
    word = graph.add("CLIPTextEncode", title="Whom to find", clip=sam3[1], text=_ANYBODY, size=(340, 120))
    found = tuple(graph.add("SAM3_VideoTrack", title=title, images=images, model=sam3, conditioning=word,
                            max_objects=1, **TRACKER)
                  for title, images in (("Follow in the driving video", frames), ("Find in the reference", reference)))
    texts = prompts(graph, loaded, column=4)
    graph.group("Who is who, and the size", column=4)
    identities = graph.add("SCAIL2Identities", title="Bind Identities (for Colored Mask)", mode="replacement",
                           driving_masks=found[0], reference_masks=found[1], driving=driving,
                           reference_image=reference)
    encoded = encode(graph, loaded, reference, identities)
    encoded.title = "Encode Reference (for CLIP Vision Encode)"
    graph.group("Sampler and noise levels (stay)", column=5)
    sampler = graph.add("KSamplerSelect", sampler_name="euler")
    sigmas = graph.add("BasicScheduler", model=model, scheduler="simple", steps=6, denoise=1.0)
    graph.group("All segments", column=6)
    video = graph.add("SCAIL2SampleVideo", title="Sample Video (for WanSCAILToVideo)", seed=SEED, model=model,
                      positive=texts[0], negative=texts[1], vae=loaded.vae, reference=encoded, driving=driving,
                      identities=identities, sampler=sampler, sigmas=sigmas, solver="euler", steps=6, shift=5.0,
                      guidance=1.0)
    graph.group("Result", column=7)
    save_video(graph, video, "video/scail2_from_core_nodes", size=(560, 480))
    graph.add("PreviewAny", title="Report", source=video[1], size=(560, 140))
    return graph


def replacement_by_overlap() -> Graph:
    return _by_word("replacement_by_overlap", driving_notes.REPLACEMENT_BY_OVERLAP, 1330, people=2, characters=1,
                    mode="replacement", binding="by overlap")


def animal() -> Graph:
    """A word for each side: the animal of the clip, and what moves as it does."""
    graph, loaded, sam3 = _start("animal", driving_notes.ANIMAL, 1420)
    reference, driving, frames = _files(graph)
    graph.group("Find the animals", column=3)
    found = []
    for title, word, name, images in (("What moves in the clip", "dog", "Follow in the driving video", frames),
                                      ("What is in the picture", "fox", "Find in the reference", reference)):
        text = graph.add("CLIPTextEncode", title=title, clip=sam3[1], text=word, size=(340, 120))
        found.append(graph.add("SAM3_VideoTrack", title=name, images=images, model=sam3, conditioning=text,
                               max_objects=1, **TRACKER))
    # the name makes the check say what to expect
    _finish(graph, loaded, driving, (frames, reference), tuple(found), "animation", check=True, names="animal")
    return graph


def _by_word(name: str, note: str, height: int, *, people: int, characters: int | None = None,
             mode: str = "animation", **binding) -> Graph:
    """One word for everybody. people: in the driving video, and in the reference unless `characters` says otherwise."""
    graph, loaded, sam3 = _start(name, note, height)
    reference, driving, frames = _files(graph)
    graph.group("Find the people", column=3)
    word = graph.add("CLIPTextEncode", title="Whom to find", clip=sam3[1], text=_ANYBODY, size=(340, 120))
    found = tuple(graph.add("SAM3_VideoTrack", title=title, images=images, model=sam3, conditioning=word,
                            max_objects=count, **TRACKER)
                  for title, images, count in (("Follow in the driving video", frames, people),
                                               ("Find in the reference", reference, characters or people)))
    _finish(graph, loaded, driving, (frames, reference), found, mode, **binding)
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
    lora = [notes.DISTILLED_LORA] if name == "from_core_nodes" else []
    graph = start(name, note, *lora, notes.SAM3, height=height)
    loaded = models(graph)
    return graph, loaded, sam3_model(graph)


def _files(graph: Graph) -> tuple[Node, Node, Node]:
    """Reference, driving video, its frames."""
    graph.group("Reference and driving video", column=2)
    reference = graph.add("LoadImage", title="Reference picture", image="reference.png")
    driving = graph.add("LoadVideo", title="Driving video", file="driving.mp4")
    return reference, driving, graph.add("GetVideoComponents", title="Driving video, frames", video=driving)


def _finish(graph: Graph, loaded: Loaded, driving: Node, pictures: tuple[Node, Node], found: tuple[Node, ...],
            mode: str, *, check: bool = False, **settings) -> None:
    texts = prompts(graph, loaded, column=4)
    identities, reference = bind_found(graph, loaded, pictures, found, mode, 4, **settings)
    sample(graph, loaded.model, texts, loaded.vae, driving, identities, reference, column=5, check=check, guidance=5.0,
           **OFFICIAL)
