"""The six workflows."""

from __future__ import annotations

from dataclasses import dataclass

from . import notes
from .graph import Graph, Node

WIDTH, HEIGHT = 896, 512
OFFICIAL = {"solver": "unipc", "steps": 40, "shift": 3.0}
DISTILLED = {"solver": "unipc", "steps": 8, "shift": 1.0}
SEGMENT, OVERLAP = 81, 5

_NOTE_WIDTH, _PROMPT = 620, (440, 260)
_SEED = 42
_CHECK = "Check the masks"


@dataclass(frozen=True)
class _Loaded:
    model: Node
    clip: Node
    clip_vision: Node
    vae: Node


@dataclass(frozen=True)
class _Inputs:
    reference: Node
    reference_mask: Node
    driving: Node
    driving_mask: Node


def animation() -> Graph:
    return _one_node("animation", notes.ANIMATION, 1270, "animation")


def replacement() -> Graph:
    return _one_node("replacement", notes.REPLACEMENT, 1390, "replacement", contradicting_background="repaint")


def two_people() -> Graph:
    return _one_node("two_people", notes.TWO_PEOPLE, 1340, "animation")


def _one_node(name: str, note: str, height: int, mode: str, **binding) -> Graph:
    """The plain graph: one reference, and Sample SCAIL-2 Video with the official settings."""
    graph = _start(name, note, height=height)
    loaded, files = _models(graph), _files(graph)
    positive, negative = _prompts(graph, loaded)
    identities, reference = _bind(graph, loaded, files, mode, **binding)
    _sample(graph, loaded.model, positive, negative, loaded, files, identities, reference, guidance=5.0, **OFFICIAL)
    return graph


def additional_reference() -> Graph:
    graph = _start("additional_reference", notes.ADDITIONAL_REFERENCE, height=1440)
    loaded, files = _models(graph), _files(graph)
    graph.group("Additional view", column=3)
    picture = graph.add("LoadImage", title="Additional picture", image="reference_back.png")
    mask = graph.add("LoadImage", title="Additional mask", image="reference_back_mask.png")
    pictures = graph.add("BatchImagesNode", title="Pictures, primary first",
                         **{"images.image0": files.reference, "images.image1": picture})
    masks = graph.add("BatchImagesNode", title="Masks, same order",
                      **{"images.image0": files.reference_mask, "images.image1": mask})
    positive, negative = _prompts(graph, loaded, column=4)
    batched = _Inputs(pictures, masks, files.driving, files.driving_mask)
    identities, reference = _bind(graph, loaded, batched, "animation", column=4)
    _sample(graph, loaded.model, positive, negative, loaded, files, identities, reference, column=5, guidance=5.0,
            **OFFICIAL)
    return graph


def ksampler() -> Graph:
    graph = _start("ksampler", notes.KSAMPLER, height=900)
    loaded, files = _models(graph), _files(graph)
    positive, negative = _prompts(graph, loaded)
    identities, reference = _bind(graph, loaded, files, "animation")
    graph.group("Solver, frame rate and sound", column=4)
    schedule = graph.add("SCAIL2Schedule", **OFFICIAL)
    components = graph.add("GetVideoComponents", title="Driving video, parts", video=files.driving)

    def segment(start: int, previous: Node | None = None) -> Node:
        history = {} if previous is None else {"previous_frames": previous}
        motion = graph.add("SCAIL2MotionTransfer", positive=positive, negative=negative, vae=loaded.vae,
                           reference=reference, driving=files.driving, identities=identities, start_frame=start,
                           length=SEGMENT, **history)
        sampled = graph.add("SamplerCustom", title="Sampler", model=loaded.model, noise_seed=_SEED + start, cfg=5.0,
                            positive=motion[0], negative=motion[1], sampler=schedule[0], sigmas=schedule[1],
                            latent_image=motion[2])
        decoded = graph.add("VAEDecode", samples=sampled[0], vae=loaded.vae)
        return graph.add("ImageFromBatch", title="Only the real frames", image=decoded, batch_index=0, length=motion[3])

    def save(frames: Node, name: str) -> None:
        video = graph.add("CreateVideo", images=frames, fps=components[2], audio=components[1])
        graph.add("SaveVideo", video=video, filename_prefix=f"video/{name}", size=(460, 440))

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
    graph = _start("distilled_draft", notes.DISTILLED_DRAFT, notes.DISTILLED_LORA, height=1180)
    loaded = _models(graph)
    model = graph.add("LoraLoaderModelOnly", title="Distilled LoRA", models=(notes.DISTILLED_LORA,), model=loaded.model,
                      lora_name=notes.DISTILLED_LORA["name"], strength_model=1.0)
    files = _files(graph)
    positive, negative = _prompts(graph, loaded)
    positive = graph.add("SCAIL2SavePrompt", conditioning=positive, name="distilled_draft_positive", overwrite=True)
    negative = graph.add("SCAIL2SavePrompt", conditioning=negative, name="distilled_draft_negative", overwrite=True)
    identities, reference = _bind(graph, loaded, files, "animation")
    _sample(graph, model, positive, negative, loaded, files, identities, reference, guidance=1.0, **DISTILLED)
    graph.group("Saved prompt (instead of Prompt)", column=4, muted=True)
    graph.add("SCAIL2LoadPrompt", title="Saved prompt", file="distilled_draft_positive.safetensors")
    graph.add("SCAIL2LoadPrompt", title="Saved negative prompt", file="distilled_draft_negative.safetensors")
    return graph


ALL = (animation, replacement, two_people, additional_reference, ksampler, distilled_draft)


def _start(name: str, text: str, *more_models: dict[str, str], height: int) -> Graph:
    graph = Graph(name)
    files = [notes.TRANSFORMER, *more_models, notes.TEXT_ENCODER, notes.CLIP_VISION, notes.VAE]
    graph.group("", column=0)
    graph.note("How to use this workflow", text, (_NOTE_WIDTH, height))
    graph.note("Model files", notes.model_links(files), (_NOTE_WIDTH, 480 + 70 * len(more_models)))
    return graph


def _models(graph: Graph) -> _Loaded:
    graph.group("Models", column=1)
    model = graph.add("SCAIL2LoadModel", models=(notes.TRANSFORMER,), model_name=notes.TRANSFORMER["name"])
    clip = graph.add("CLIPLoader", title="Load text encoder", models=(notes.TEXT_ENCODER,),
                     clip_name=notes.TEXT_ENCODER["name"], type="wan", device="default")
    vision = graph.add("CLIPVisionLoader", models=(notes.CLIP_VISION,), clip_name=notes.CLIP_VISION["name"])
    vae = graph.add("VAELoader", models=(notes.VAE,), vae_name=notes.VAE["name"])
    return _Loaded(model, clip, vision, vae)


def _files(graph: Graph) -> _Inputs:
    graph.group("Reference and driving video", column=2)
    return _Inputs(graph.add("LoadImage", title="Reference picture", image="reference.png"),
                   graph.add("LoadImage", title="Reference mask", image="reference_mask.png"),
                   graph.add("LoadVideo", title="Driving video", file="driving.mp4"),
                   graph.add("LoadVideo", title="Driving mask", file="driving_mask.mp4"))


def _prompts(graph: Graph, loaded: _Loaded, column: int = 3) -> tuple[Node, Node]:
    graph.group("Prompt", column)
    return (graph.add("CLIPTextEncode", title="Prompt", clip=loaded.clip, text=notes.PROMPTS[graph.name],
                      size=_PROMPT),
            graph.add("CLIPTextEncode", title="Negative prompt (empty is the official one)", clip=loaded.clip,
                      text="", size=(_PROMPT[0], 120)))


def _bind(graph: Graph, loaded: _Loaded, files: _Inputs, mode: str, column: int = 3, **settings) -> tuple[Node, Node]:
    graph.group("Who is who, and the size", column)
    frames = graph.add("GetVideoComponents", title="Driving mask, frames", video=files.driving_mask)
    identities = graph.add("SCAIL2Identities", mode=mode, driving_masks=frames, reference_masks=files.reference_mask,
                           **settings)
    reference = graph.add("SCAIL2EncodeReference", vae=loaded.vae, clip_vision=loaded.clip_vision,
                          image=files.reference, identities=identities, width=WIDTH, height=HEIGHT)
    graph.group(_CHECK, column + 1)
    first = graph.add("ImageFromBatch", title="First driving mask", image=identities[1], batch_index=0, length=1)
    graph.add("PreviewImage", title="Driving mask as the model sees it", images=first, size=(340, 260))
    graph.add("PreviewImage", title="Reference mask as the model sees it", images=identities[2], size=(340, 260))
    graph.add("PreviewAny", title="People found", source=identities[3], size=(340, 180))
    return identities, reference


def _sample(graph: Graph, model: Node, positive: Node, negative: Node, loaded: _Loaded, files: _Inputs,
            identities: Node, reference: Node, *, column: int = 4, **settings) -> None:
    graph.group("Sampling", column)
    video = graph.add("SCAIL2SampleVideo", model=model, positive=positive, negative=negative, vae=loaded.vae,
                      reference=reference, driving=files.driving, identities=identities, seed=_SEED, **settings)
    graph.group("Result", column + 1)
    graph.add("SaveVideo", video=video, filename_prefix=f"video/scail2_{graph.name}", size=(560, 480))
    graph.add("PreviewAny", title="Report", source=video[1], size=(560, 140))
