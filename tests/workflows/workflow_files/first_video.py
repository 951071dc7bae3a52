"""The two workflows for a first video: all but what a user has to say is inside one node."""

from __future__ import annotations

from . import notes, prompt_texts
from .graph import Graph, Node, Subgraph
from .parts import SEED, Loaded, models, sam3_model, save_video, start
from .sam3_definitions import TRACKER

SETTINGS = {"solver": "unipc", "steps": 8, "shift": 1.0, "guidance": 1.0,  # of the distilled LoRA
            "rate": 16.0}  # frames per second that the model was trained with
_CLIP_WORD, _PICTURE_WORD, _PROMPT = "who moves in the clip", "who is in the picture", "prompt: the finished video"
_SECONDS = "seconds of the clip (0: all)"
_PLATE = "plate: the place as it was filmed"
_FIELDS = {_CLIP_WORD: "person", _PICTURE_WORD: "person", _PROMPT: "", "width": 896, "height": 512, _SECONDS: 5.0}


def animate_a_picture() -> Graph:
    return _first("animate_a_picture", "SCAIL-2: animate a picture", notes.ANIMATE_A_PICTURE, "animation", _FIELDS)


def replace_a_person() -> Graph:
    return _first("replace_a_person", "SCAIL-2: replace a person", notes.REPLACE_A_PERSON, "replacement",
                  _FIELDS | {_PLATE: "lock"})


def _first(name: str, title: str, note: str, mode: str, fields: dict) -> Graph:
    graph = start(name, note, notes.DISTILLED_LORA, notes.SAM3, height=1180)
    graph.group("Yours", column=1)
    picture = graph.add("LoadImage", title="Picture", image="reference.png", size=(340, 350))
    clip = graph.add("LoadVideo", title="Clip", file="driving.mp4", size=(340, 350))
    picture.labels, clip.labels = {"image": "picture"}, {"file": "clip"}  # what the form calls them
    graph.group("", column=2)
    box = graph.subgraph(title, size=(460, 500), picture=picture, clip=clip,
                         **fields | {_PROMPT: prompt_texts.PROMPTS[name]})
    _inside(box, mode)
    graph.group("Result", column=3)
    video = save_video(graph, box.host[0], f"video/scail2_{name}", size=(560, 480))
    graph.group("Before the video is made", column=3)
    graph.add("PreviewImage", title="Whom it has found", images=box.host[1], size=(560, 300))
    graph.add("PreviewAny", title="What the check says", source=box.host[2], size=(560, 240))
    graph.app = [(picture, "image"), (clip, "file"), *((box.host, field) for field in fields)], [video]
    return graph


def _inside(box: Subgraph, mode: str) -> None:
    given = box.given
    loaded = models(box, lora=notes.DISTILLED_LORA)
    sam3 = sam3_model(box)
    box.group("The clip, cut to length", column=1)
    clip = box.add("Video Slice", title="From its beginning", video=given["clip"], duration=given[_SECONDS])
    frames = box.add("GetVideoComponents", video=clip)
    people = _people(box, sam3, frames)
    box.group("Prompt", column=2)
    prompts = (box.add("CLIPTextEncode", title="Prompt", clip=loaded.clip, text=given[_PROMPT], size=(440, 200)),
               box.add("CLIPTextEncode", title="Negative prompt (empty is the official one)", clip=loaded.clip, text="",
                       size=(440, 120)))
    box.group("Who is who", column=3)
    identities = box.add("SCAIL2Identities", mode=mode, driving_masks=people[0], reference_masks=people[1],
                         driving=clip, reference_image=given["picture"])
    reframed, reference = _reference(box, loaded, identities, clip)
    inputs = {"model": loaded.model, "positive": prompts[0], "negative": prompts[1], "vae": loaded.vae,
              "reference": reference, "driving": clip, "identities": reframed, **SETTINGS}
    if _PLATE in given:
        inputs["plate"] = given[_PLATE]
    box.group("Check, then sample", column=4)
    check = box.add("SCAIL2Preflight", **inputs)
    video = box.add("SCAIL2SampleVideo", seed=SEED, **inputs)
    box.gives(video=video, found=identities[1], check=check)


def _people(box: Subgraph, sam3: Node, frames: Node) -> tuple[Node, Node]:
    """The person in the clip, and the one in the picture."""
    box.group("Find the people", column=2)
    found = []
    for where, asked, images in (("clip", _CLIP_WORD, frames), ("picture", _PICTURE_WORD, box.given["picture"])):
        text = box.add("PrimitiveString", title=asked.capitalize(), value=box.given[asked])
        word = box.add("CLIPTextEncode", clip=sam3[1], text=text, size=(340, 120))
        found.append(box.add("SAM3_VideoTrack", title=f"Find in the {where}", images=images, model=sam3,
                             conditioning=word, max_objects=1, **TRACKER))
    return found[0], found[1]


def _reference(box: Subgraph, loaded: Loaded, identities: Node, clip: Node) -> tuple:
    """Identities and encoded reference, the person of the picture put where the one of the clip stands."""
    size = {"width": box.given["width"], "height": box.given["height"]}
    reframed = box.add("SCAIL2ReframeReference", image=box.given["picture"], identities=identities, driving=clip,
                       size=(340, 420), **size)
    return reframed[2], box.add("SCAIL2EncodeReference", vae=loaded.vae, clip_vision=loaded.clip_vision,
                                image=reframed[0], identities=reframed[2], **size)
