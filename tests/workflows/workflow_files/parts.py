"""The groups of nodes that the workflows have in common."""

from __future__ import annotations

from dataclasses import dataclass

from . import notes, prompt_texts
from .graph import Graph, Node, Output

WIDTH, HEIGHT = 896, 512
OFFICIAL = {"solver": "unipc", "steps": 40, "shift": 3.0}
SEED = 42

_NOTE_WIDTH, _PROMPT = 620, (440, 260)


@dataclass(frozen=True)
class Loaded:
    model: Node
    clip: Node
    clip_vision: Node
    vae: Node


@dataclass(frozen=True)
class Inputs:
    reference: Node
    reference_mask: Node
    driving: Node
    driving_mask: Node


def start(name: str, text: str, *more_models: dict[str, str], height: int, nlf: bool = False) -> Graph:
    """The two notes, of which the first is `height` pixels high. nlf: whether NLF's file is needed too."""
    graph = Graph(name)
    files = [notes.TRANSFORMER, *more_models, notes.TEXT_ENCODER, notes.CLIP_VISION, notes.VAE]
    graph.group("", column=0)
    graph.note("How to use this workflow", text, (_NOTE_WIDTH, height))
    graph.note("Model files", notes.model_links(files, nlf), (_NOTE_WIDTH, 480 + 70 * len(more_models) + 90 * nlf))
    return graph


def models(graph: Graph, lora: dict[str, str] | None = None) -> Loaded:
    graph.group("Models", column=1)
    model = graph.add("SCAIL2LoadModel", models=(notes.TRANSFORMER,), model_name=notes.TRANSFORMER["name"])
    clip = graph.add("CLIPLoader", title="Load text encoder", models=(notes.TEXT_ENCODER,),
                     clip_name=notes.TEXT_ENCODER["name"], type="wan", device="default")
    vision = graph.add("CLIPVisionLoader", models=(notes.CLIP_VISION,), clip_name=notes.CLIP_VISION["name"])
    vae = graph.add("VAELoader", models=(notes.VAE,), vae_name=notes.VAE["name"])
    if lora is not None:
        model = graph.add("SCAIL2LoadLora", title="Distilled LoRA", models=(lora,), model=model,
                          lora_name=lora["name"], strength=1.0)
    return Loaded(model, clip, vision, vae)


def sam3_model(graph: Graph) -> Node:
    return graph.add("CheckpointLoaderSimple", title="Load SAM 3.1", models=(notes.SAM3,), ckpt_name=notes.SAM3["name"])


def files(graph: Graph, video: str = "Driving video") -> Inputs:
    graph.group(f"Reference and {video.lower()}", column=2)
    return Inputs(graph.add("LoadImage", title="Reference picture", image="reference.png"),
                  graph.add("LoadImage", title="Reference mask", image="reference_mask.png"),
                  graph.add("LoadVideo", title=video, file="driving.mp4"),
                  graph.add("LoadVideo", title="Driving mask", file="driving_mask.mp4"))


def prompts(graph: Graph, loaded: Loaded, column: int = 3) -> tuple[Node, Node]:
    graph.group("Prompt", column)
    return (graph.add("CLIPTextEncode", title="Prompt", clip=loaded.clip, text=prompt_texts.PROMPTS[graph.name],
                      size=_PROMPT),
            graph.add("CLIPTextEncode", title="Negative prompt (empty is the official one)", clip=loaded.clip,
                      text="", size=(_PROMPT[0], 120)))


def bind(graph: Graph, loaded: Loaded, files: Inputs, mode: str, column: int = 3, **settings) -> tuple[Node, Node]:
    """Identities and encoded reference from colour masks."""
    graph.group("Who is who, and the size", column)
    identities = _bound(graph, files, mode, **settings)
    reference = encode(graph, loaded, files.reference, identities)
    _show(graph, identities, column + 1)
    return identities, reference


def bind_only(graph: Graph, files: Inputs, mode: str, column: int = 3, **settings) -> Node:
    """Identities from colour masks."""
    graph.group("Who is who", column)
    identities = _bound(graph, files, mode, **settings)
    _show(graph, identities, column + 1)
    return identities


def _bound(graph: Graph, files: Inputs, mode: str, **settings) -> Node:
    return graph.add("SCAIL2Identities", mode=mode, driving_masks=files.driving_mask,
                     reference_masks=files.reference_mask, driving=files.driving, reference_image=files.reference,
                     **settings)


def bind_found(graph: Graph, loaded: Loaded, pictures: tuple[Node, Node], found: tuple[Node, Node], mode: str,
               column: int, *, save: bool = False, reframe: bool = False, size: tuple[int, int] = (WIDTH, HEIGHT),
               **settings) -> tuple[Node, Node]:
    """Identities and encoded reference from what SAM3 has found; both tuples: driving frames, reference. `save`: the
    identities also go into a file named after the workflow. `reframe`: the reference person is put where the driving
    person stands. size: width and height of the result."""
    graph.group("Who is who, and the size", column)
    bound = identities = graph.add("SCAIL2Identities", mode=mode, driving_masks=found[0], reference_masks=found[1],
                                   driving=pictures[0], reference_image=pictures[1], **settings)
    if save:
        identities = graph.add("SCAIL2SaveTracks", identities=bound, name=graph.name, overwrite=True,
                               driving=pictures[0])
    picture = pictures[1]
    if reframe:
        reframed = graph.add("SCAIL2ReframeReference", image=picture, identities=identities, width=WIDTH, height=HEIGHT,
                             driving=pictures[0], size=(340, 420))
        picture, identities = reframed[0], reframed[2]
    reference = encode(graph, loaded, picture, identities, *size)
    _show(graph, bound, column + 1)
    return identities, reference


def _show(graph: Graph, identities: Node, column: int) -> None:
    graph.group("Check the masks", column)
    graph.add("PreviewImage", title="Driving video, people marked", images=identities[1], size=(340, 400))
    graph.add("PreviewImage", title="Reference, people marked", images=identities[2], size=(340, 260))
    graph.add("PreviewAny", title="People found", source=identities[3], size=(340, 180))


def encode(graph: Graph, loaded: Loaded, picture: Node, identities: Node, width: int = WIDTH,
           height: int = HEIGHT) -> Node:
    return graph.add("SCAIL2EncodeReference", vae=loaded.vae, clip_vision=loaded.clip_vision, image=picture,
                     identities=identities, width=width, height=height)


def sample(graph: Graph, model: Node, prompts: tuple[Node, Node], vae: Node, driving: Node, identities: Node,
           reference: Node, *, column: int = 4, check: bool = False, **settings) -> Node:
    """The sampler, with its results shown. `check`: everything that is wrong or doubtful is shown beside it."""
    inputs = {"model": model, "positive": prompts[0], "negative": prompts[1], "vae": vae, "reference": reference,
              "driving": driving, "identities": identities, **settings}
    if check:
        column += 1
        graph.group("Check everything", column)
        found = graph.add("SCAIL2Preflight", **inputs)
        column += 1
    graph.group("Sampling", column)
    video = graph.add("SCAIL2SampleVideo", seed=SEED, **inputs)
    graph.group("Result", column + 1)
    save_video(graph, video, f"video/scail2_{graph.name}", size=(560, 480))
    graph.add("PreviewAny", title="Report", source=video[1], size=(560, 140))
    if check:  # the frontend shows texts in this node only; last, so that the other nodes keep their numbers
        graph.group("What is wrong, and what it takes", column - 1)
        graph.add("PreviewAny", title="Check", source=found[0], size=(420, 360))
    return video


def save_video(graph: Graph, video: Node | Output, prefix: str, size: tuple[int, int]) -> Node:
    """`codec` is what versions before 0.33 ask for, `format.codec` later ones; either lets the other pass."""
    return graph.add("SaveVideo", video=video, filename_prefix=prefix, format="auto", codec="auto", size=size,
                     **{"format.codec": "auto"})
