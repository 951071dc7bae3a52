"""Graphs in API format: the pack's nodes connected as a user connects them."""

from __future__ import annotations

Link = list


class Graph(dict):
    """An API-format prompt. `add` returns the link to the new node's first output; `set` changes inputs."""

    images: str  # path of the drawn pictures, see assets.write_pictures

    def __init__(self, images) -> None:
        super().__init__()
        self.images = str(images)

    def add(self, name: str, class_type: str, /, **inputs) -> Link:
        self[name] = {"class_type": class_type, "inputs": inputs}
        return [name, 0]

    def set(self, name: str, /, **inputs) -> Graph:
        self[name]["inputs"] |= inputs
        return self

    def numbered(self) -> tuple[dict, dict[str, str]]:
        """As the page names nodes: the same prompt with numbers, and each node's number."""
        numbers = {name: str(number) for number, name in enumerate(self, 1)}
        return {numbers[name]: {**node, "inputs": {
            key: [numbers[value[0]], value[1]] if isinstance(value, list) else value
            for key, value in node["inputs"].items()}} for name, node in self.items()}, numbers

    def pictures(self, name: str, key: str, /, **inputs) -> Link:
        return self.add(name, "TestImages", path=self.images, name=key, **inputs)

    def save(self, path, name: str = "saved", **inputs) -> Graph:
        """Write tensors to `path` when the graph runs."""
        self.add(name, "TestSaveTensors", path=str(path), **inputs)
        return self


def load(graph: Graph, file: str = "fp32.safetensors", weight_dtype: str = "default", **how: str) -> Link:
    return graph.add("model", "SCAIL2LoadModel", model_name=file, weight_dtype=weight_dtype, **how)


def add_inputs(graph: Graph, *, people: int = 1, mode: str = "animation", frames: int = 9, additional: bool = False,
               width: int = 64, height: int = 64) -> Graph:
    """Prompts, VAE, pictures, identities and the encoded reference."""
    count = "s" if additional else people
    driving_mask, reference, reference_mask = f"driving_mask{people}", f"reference{count}", f"reference_mask{count}"
    if mode == "replacement":
        driving_mask, reference_mask = f"{driving_mask}_white", f"{reference_mask}_black"
    graph.add("vae", "VAELoader", vae_name="wan_tiny.safetensors")
    graph.add("clip", "TestClipVision")
    graph.add("positive", "TestText", seed=1)
    graph.add("negative", "TestText", seed=2, tokens=2)
    graph.add("identities", "SCAIL2Identities", mode=mode,
              driving_masks=graph.pictures("driving_mask", driving_mask, frames=frames),
              reference_masks=graph.pictures("reference_mask", reference_mask))
    graph.add("reference", "SCAIL2EncodeReference", vae=["vae", 0], clip_vision=["clip", 0],
              image=graph.pictures("reference_image", reference), identities=["identities", 0], width=width,
              height=height)
    graph.pictures("driving", f"driving{people}", frames=frames)
    return graph


def add_motion(graph: Graph, name: str = "motion", *, start_frame: int = 0, length: int = 9, **inputs) -> Link:
    """One segment; `add_inputs` comes before."""
    return graph.add(name, "SCAIL2MotionTransfer", positive=["positive", 0], negative=["negative", 0], vae=["vae", 0],
                     reference=["reference", 0], driving=["driving", 0], identities=["identities", 0],
                     start_frame=start_frame, length=length, **inputs)


def add_ksampler(graph: Graph, model: Link, *, motion: str = "motion", name: str = "sampled", steps: int = 2,
                 guidance: float = 1.0, seed: int = 3) -> Link:
    """Core's KSampler on what the motion node gives."""
    return graph.add(name, "KSampler", model=model, seed=seed, steps=steps, cfg=guidance, sampler_name="euler",
                     scheduler="simple", positive=[motion, 0], negative=[motion, 1], latent_image=[motion, 2],
                     denoise=1.0)


def add_sample_video(graph: Graph, model: Link, *, name: str = "sampled", steps: int = 2, seed: int = 3,
                     guidance: float = 1.0, solver: str = "unipc", **inputs) -> Link:
    """The whole video; `codec` is lossless unless asked otherwise, for tests that look at the frames."""
    inputs = {"codec": "lossless"} | inputs
    return graph.add(name, "SCAIL2SampleVideo", model=model, positive=["positive", 0], negative=["negative", 0],
                     vae=["vae", 0], reference=["reference", 0], driving=["driving", 0], identities=["identities", 0],
                     seed=seed, solver=solver, steps=steps, shift=3.0, guidance=guidance, **inputs)
