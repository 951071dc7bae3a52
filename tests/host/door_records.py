"""What goes through a door of the product: the frames that its VAE encodes, and the segments that its host samples.

Used in ComfyUI's process by a test node, and by tests of the command line in their own.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor


class DoorRecord:
    """Records from now on, until `stop`.

    vae, host: the classes whose `encode` and `sample` are listened to. frames: what the VAE is given -> [T, H, W, 3].
    reference, text: host and a segment's inputs -> encoded reference, embedding of the prompt. clip: that reference ->
    its CLIP features.
    """

    def __init__(self, folder: Path, *, vae: type, host: type, frames: Callable[[Tensor], Tensor],
                 reference: Callable[[Any, Any], Any], text: Callable[[Any, Any], Tensor],
                 clip: Callable[[Any], Tensor]) -> None:
        folder.mkdir(parents=True)
        self.folder, self.count = folder, 0
        self.frames, self.reference, self.text, self.clip = frames, reference, text, clip
        self.originals = [(vae, "encode", vae.encode), (host, "sample", host.sample)]
        for (owner, name, original), told in zip(self.originals, (self._encoded, self._sampled), strict=True):
            setattr(owner, name, _telling(original, told))

    def stop(self) -> None:
        for owner, name, original in self.originals:
            setattr(owner, name, original)

    def _encoded(self, _vae: Any, pixels: Tensor, *others: Any) -> None:
        *_, latent = others  # ComfyUI's VAE is told nothing else
        self._save("encoded", {"frames": self.frames(pixels), "latent": latent})

    def _sampled(self, host: Any, request: Any, latent: Tensor) -> None:
        reference = self.reference(host, request.inputs)
        tensors = {"noise": request.noise, "driving": request.driving, "driving_mask": request.driving_mask,
                   "latent": latent, "text": self.text(host, request.inputs), "clip": self.clip(reference),
                   "reference_mask": reference.masks,
                   **{f"reference_{index}": each for index, each in enumerate(reference.latents)}}
        if request.history is not None:
            tensors["history"] = request.history
        segment, inputs = request.segment, request.inputs
        self._save("sampled", tensors, json.dumps({
            "segment": [segment.start, segment.stop, segment.length, segment.overlap],
            "replacement": request.replacement, "guidance": inputs.guidance, "seed": inputs.seed,
            "driving_strength": inputs.driving_strength, "history_strength": inputs.history_strength}))

    def _save(self, kind: str, tensors: dict[str, Tensor], about: str = "") -> None:
        self.count += 1
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
                  self.folder / f"{kind}-{self.count:03}.safetensors", {"about": about})


def _telling(function: Callable[..., Any], told: Callable[..., None]) -> Callable[..., Any]:
    @functools.wraps(function)
    def telling(*arguments: Any) -> Any:
        answer = function(*arguments)
        told(*arguments, answer)
        return answer

    return telling


def read(folder: Path, kind: str) -> list[tuple[dict[str, Tensor], Any]]:
    """What was recorded, in order: the tensors, and what was told about them."""
    found = []
    for path in sorted(folder.glob(f"{kind}-*.safetensors")):
        with safe_open(path, "pt") as file:
            about = file.metadata()["about"]
        found.append((load_file(path), about and json.loads(about)))
    return found
