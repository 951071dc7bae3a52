"""The workflows: those with masks from files here, those with masks by SAM3 in `sam3_definitions.py`."""

from __future__ import annotations

from . import notes
from .first_video import animate_a_picture, replace_a_person
from .graph import Graph, Node
from .parts import OFFICIAL, SEED, Inputs, bind, files, models, prompts, sample, save_video, start
from .plate_definitions import face_pass, small_person
from .pose_definitions import mesh_driven, pose_driven
from .sam3_definitions import (
    animal,
    from_core_nodes,
    replacement_by_overlap,
    sam3_one_person,
    sam3_points,
    sam3_several_people,
)

DISTILLED = {"solver": "unipc", "steps": 8, "shift": 1.0}
SEGMENT, OVERLAP = 81, 5


def animation() -> Graph:
    return _one_node("animation", notes.ANIMATION, 1270, "animation")


def replacement() -> Graph:
    """With the place as it was filmed."""
    graph = start("replacement", notes.REPLACEMENT, height=1640)
    loaded, given = models(graph), files(graph)
    texts = prompts(graph, loaded)
    identities, reference = bind(graph, loaded, given, "replacement", contradicting_background="repaint")
    graph.group("What stays as filmed", column=5)
    graph.add("SCAIL2PlatePreview", driving=given.driving, identities=identities, reference=reference,
              size=(460, 560))
    sample(graph, loaded.model, texts, loaded.vae, given.driving, identities, reference, column=5, check=True,
           guidance=5.0, plate="lock", **OFFICIAL)
    return graph


def two_people() -> Graph:
    return _one_node("two_people", notes.TWO_PEOPLE, 1340, "animation")


def _one_node(name: str, note: str, height: int, mode: str, **binding) -> Graph:
    """The plain graph: one reference, and Sample SCAIL-2 Video with the official settings."""
    graph = start(name, note, height=height)
    loaded, given = models(graph), files(graph)
    texts = prompts(graph, loaded)
    identities, reference = bind(graph, loaded, given, mode, **binding)
    sample(graph, loaded.model, texts, loaded.vae, given.driving, identities, reference, check=True, guidance=5.0,
           **OFFICIAL)
    return graph


def additional_reference() -> Graph:
    graph = start("additional_reference", notes.ADDITIONAL_REFERENCE, height=1440)
    loaded, given = models(graph), files(graph)
    graph.group("Additional view", column=3)
    picture = graph.add("LoadImage", title="Additional picture", image="reference_back.png")
    mask = graph.add("LoadImage", title="Additional mask", image="reference_back_mask.png")
    pictures = graph.add("BatchImagesNode", title="Pictures, primary first",
                         **{"images.image0": given.reference, "images.image1": picture})
    masks = graph.add("BatchImagesNode", title="Masks, same order",
                      **{"images.image0": given.reference_mask, "images.image1": mask})
    texts = prompts(graph, loaded, column=4)
    batched = Inputs(pictures, masks, given.driving, given.driving_mask)
    identities, reference = bind(graph, loaded, batched, "animation", column=4)
    sample(graph, loaded.model, texts, loaded.vae, given.driving, identities, reference, column=5, guidance=5.0,
           **OFFICIAL)
    return graph


def long_video() -> Graph:
    """Animation, with what a video of several segments wants besides: the drift measured, and the jobs on disk."""
    graph = start("long_video", notes.LONG_VIDEO, height=1790)
    loaded, given = models(graph), files(graph)
    texts = prompts(graph, loaded)
    identities, reference = bind(graph, loaded, given, "animation")
    video = sample(graph, loaded.model, texts, loaded.vae, given.driving, identities, reference, check=True,
                   guidance=5.0, **OFFICIAL)
    graph.group("What is kept on disk", column=7)
    jobs = graph.add("SCAIL2Jobs", action="list")
    graph.add("PreviewAny", title="Jobs", source=jobs, size=(560, 180))
    graph.group("How far it drifts", column=8)
    drift = graph.add("SCAIL2DriftReport", size=(560, 800), video=video, segments=video[2], reference=given.reference,
                      identities=identities, filename_prefix="scail2_drift/long_video")
    graph.add("PreviewAny", title="Verdict of each seam", source=drift[1], size=(560, 420))
    return graph


def ksampler() -> Graph:
    graph = start("ksampler", notes.KSAMPLER, height=900)
    loaded, given = models(graph), files(graph)
    positive, negative = prompts(graph, loaded)
    identities, reference = bind(graph, loaded, given, "animation")
    graph.group("Solver, frame rate and sound", column=4)
    schedule = graph.add("SCAIL2Schedule", **OFFICIAL)
    components = graph.add("GetVideoComponents", title="Driving video, parts", video=given.driving)

    def segment(start: int, previous: Node | None = None) -> Node:
        history = {} if previous is None else {"previous_frames": previous}
        motion = graph.add("SCAIL2MotionTransfer", positive=positive, negative=negative, vae=loaded.vae,
                           reference=reference, driving=given.driving, identities=identities, start_frame=start,
                           length=SEGMENT, **history)
        sampled = graph.add("SamplerCustom", title="Sampler", model=loaded.model, noise_seed=SEED + start, cfg=5.0,
                            positive=motion[0], negative=motion[1], sampler=schedule[0], sigmas=schedule[1],
                            latent_image=motion[2])
        decoded = graph.add("VAEDecode", samples=sampled[0], vae=loaded.vae)
        return graph.add("ImageFromBatch", title="Only the real frames", image=decoded, batch_index=0, length=motion[3])

    def save(frames: Node, name: str) -> None:
        video = graph.add("CreateVideo", images=frames, fps=components[2], audio=components[1])
        save_video(graph, video, f"video/{name}", size=(460, 440))

    graph.group("Segment 1", column=5)
    first = segment(0)
    graph.group("Result", column=6)
    save(first, "scail2_segment_1")
    graph.group("Segment 2 (switch on to go on)", column=7, muted=True)
    second = segment(SEGMENT, first)
    new = graph.add("ImageFromBatch", title="Without the 5 that repeat", image=second, batch_index=OVERLAP,
                    length=4096)
    graph.group("Both segments", column=8, muted=True)
    joined = graph.add("BatchImagesNode", title="Segments 1 and 2", **{"images.image0": first, "images.image1": new})
    save(joined, "scail2_segments_1_2")
    return graph


def distilled_draft() -> Graph:
    graph = start("distilled_draft", notes.DISTILLED_DRAFT, notes.DISTILLED_LORA, height=1180)
    loaded, given = models(graph, notes.DISTILLED_LORA), files(graph)
    positive, negative = prompts(graph, loaded)
    positive = graph.add("SCAIL2SavePrompt", conditioning=positive, name="distilled_draft_positive", overwrite=True)
    negative = graph.add("SCAIL2SavePrompt", conditioning=negative, name="distilled_draft_negative", overwrite=True)
    identities, reference = bind(graph, loaded, given, "animation")
    sample(graph, loaded.model, (positive, negative), loaded.vae, given.driving, identities, reference, guidance=1.0,
           **DISTILLED)
    graph.group("Saved prompt (instead of Prompt)", column=4, muted=True)
    graph.add("SCAIL2LoadPrompt", title="Saved prompt", file="distilled_draft_positive.safetensors")
    graph.add("SCAIL2LoadPrompt", title="Saved negative prompt", file="distilled_draft_negative.safetensors")
    return graph


ALL = (animate_a_picture, replace_a_person, animation, replacement, two_people, additional_reference, long_video,
       ksampler, distilled_draft, sam3_one_person, sam3_several_people, sam3_points, replacement_by_overlap,
       pose_driven, mesh_driven, animal, from_core_nodes, small_person, face_pass)
