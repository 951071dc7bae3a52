"""The Wan 2.1 encoders without ComfyUI: diffusers' VAE, transformers' umT5 and CLIP.

They come from a folder in diffusers form, or from the official SCAIL-2 folder with its `.pth` files. Each is loaded
when it is needed, and text encoder and CLIP are given up after, because umT5 alone is 11 GB; several runs may keep them
(`kept_models.py`).
"""

from __future__ import annotations

import html
import logging
import pickle
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ftfy
import torch
import transformers
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..files.content_keys import digest
from . import official_names
from .file_keys import file_key
from .kept_models import CLIP, TEXT, KeptModels, free
from .vae_stages import Stages

logger = logging.getLogger(__name__)

# part -> (name in a diffusers folder, name in the official folder)
_PLACES = {
    "VAE": ("vae", "Wan2.1_VAE.pth"),
    "text encoder": ("text_encoder", "umt5-xxl/models_t5_umt5-xxl-enc-bf16.pth"),
    "tokenizer": ("tokenizer", "umt5-xxl"),
    "CLIP": ("image_encoder", "models_clip_open-clip-xlm-roberta-large-vit-huge-14-onlyvisual.pth"),
}

Naming = Callable[[Mapping[str, Tensor]], tuple[dict[str, Any], dict[str, Tensor]]]


@dataclass(frozen=True)
class EncoderFiles:
    """Where the parts lie: folders in diffusers form, or the official files."""

    vae: Path
    text: Path
    tokenizer: Path
    clip: Path


def find_encoders(folder: Path) -> EncoderFiles:
    """Find the parts in `folder` and check that their files are complete; nothing is loaded.

    RuntimeError for a part that is missing, and for a file that is damaged or of another model.
    """
    files = EncoderFiles(*(_place(folder, part) for part in _PLACES))
    _check(files.vae, official_names.vae)
    _check(files.text, official_names.t5)
    _check(files.clip, official_names.clip)
    return files


def tokenize(files: EncoderFiles, prompt: str, limit: int, name: str) -> Tensor:
    """Token numbers of a prompt as the official code cleans it, int64 [1, L]. ValueError, which says `name`, for more
    than `limit`."""
    tokens = _token_numbers(files.tokenizer, prompt)
    if tokens.shape[1] > limit:
        called = f"{name} prompt".strip()
        raise ValueError(f"The {called} has {tokens.shape[1]} tokens, but SCAIL-2 reads {limit}: shorten it.")
    return tokens


def token_counter(folder: Path) -> Callable[[str], int]:
    """How many tokens a prompt has, by the tokenizer in a folder that `find_encoders` takes. RuntimeError for a folder
    without one."""
    tokenizer = _place(folder, "tokenizer")
    return lambda prompt: _token_numbers(tokenizer, prompt).shape[1]


def _place(folder: Path, part: str) -> Path:
    if not folder.is_dir():
        raise RuntimeError(f"The folder {folder} (--ckpt_dir) does not exist: check the path.")
    names = _PLACES[part]
    path = next((folder / name for name in names if (folder / name).exists()), None)
    if path is None:
        raise RuntimeError(f"{folder} (--ckpt_dir) has no {part}, neither {names[0]}/ nor {names[1]}: give a "
                           "Wan 2.1 folder in diffusers form or the official SCAIL-2 folder.")
    return path


def _token_numbers(tokenizer: Path, prompt: str) -> Tensor:
    cleaned = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return transformers.AutoTokenizer.from_pretrained(tokenizer)(
        re.sub(r"\s+", " ", cleaned).strip(), return_tensors="pt").input_ids


def encode_texts(files: EncoderFiles, tokens: list[Tensor], device: torch.device, dtype: torch.dtype,
                 models: KeptModels | None = None) -> list[Tensor]:
    """Token numbers [1, L] each -> embeddings float32 [1, L, width] each. models: of other runs.

    One text at a time and without padding: that gives what the official padding to 512 and trimming gives.
    """
    def load() -> Any:
        return _load_transformers(files.text, transformers.UMT5EncoderModel, transformers.UMT5Config,
                                  official_names.t5, dtype)

    with (models or KeptModels()).used(TEXT, digest(file_key(files.text), str(dtype)), load, device) as model:
        return [model(input_ids=numbers.to(device)).last_hidden_state.float() for numbers in tokens]


def encode_clip(files: EncoderFiles, pixels: Tensor, device: torch.device, models: KeptModels | None = None) -> Tensor:
    """CLIP's input [1, 3, 224, 224] -> features before its last layer, float32 [1, 257, 1280]. models: of other
    runs."""
    def load() -> Any:
        return _load_transformers(files.clip, transformers.CLIPVisionModel, transformers.CLIPVisionConfig,
                                  official_names.clip, torch.float32)

    with (models or KeptModels()).used(CLIP, file_key(files.clip), load, device) as model:
        return model(pixel_values=pixels.to(device), output_hidden_states=True).hidden_states[-2]


class VAE:
    """Wan 2.1's video VAE: pixels 0..1 to latents and back, in float32. The transformer reads normalised latents.

    gpus: several that encode and decode together, `device` first; with the same results to the bit.
    """

    def __init__(self, files: EncoderFiles, device: torch.device, gpus: Sequence[torch.device] = ()) -> None:
        self.model = _load_vae(files.vae).to(device)
        self.device = device
        config = self.model.config
        self.mean, self.std = (torch.tensor(values, device=device).view(1, -1, 1, 1, 1)
                               for values in (config.latents_mean, config.latents_std))
        places = [tuple(gpus), (device,)] if len(gpus) > 1 else [(device,)]
        self._encoders, self._decoders = ([Stages(coder, devices) for devices in places]
                                          for coder in (self.model.encoder, self.model.decoder))

    def encode(self, pixels: Tensor, check: Callable[[], None] = lambda: None) -> Tensor:
        """[T, 3, H, W] in 0..1 -> the latent's mean, [1, 16, (T-1)/4+1, H/8, W/8]. check: called for each latent frame
        by the thread of each GPU; what it raises ends all."""
        video = (pixels.to(self.device) * 2 - 1).movedim(0, 1)[None]  # [1, 3, T, H, W]
        return self._tried(self._encoders, _encode, video, check)

    def decode(self, latent: Tensor, check: Callable[[], None] = lambda: None) -> Tensor:
        """[1, 16, T', H', W'] -> [4T'-3, 3, 8H', 8W'] in 0..1, on the CPU. check: as in `encode`."""
        return self._tried(self._decoders, _decode, latent, check)

    def _tried(self, stages: Sequence[Stages], way: Callable[[Any, Stages, Tensor, Callable[[], None]], Tensor],
               given: Tensor, check: Callable[[], None]) -> Tensor:
        """On several GPUs if there are; on one, the last of `stages`, for a picture and where memory runs out."""
        *several, alone = stages
        for together in several if given.shape[2] > 1 else ():
            try:
                return way(self.model, together, given, check)
            except torch.OutOfMemoryError as error:
                logger.warning("SCAIL-2: the VAE works on one GPU, because memory ran out on several (%s).",
                               str(error).split("\n")[0])
            free()  # outside of the exception, which holds on to what was allocated
        return way(self.model, alone, given, check)

    def normalised(self, latent: Tensor) -> Tensor:
        """As the transformer reads it."""
        return (latent.to(self.device) - self.mean) / self.std

    def denormalised(self, latent: Tensor) -> Tensor:
        """As the VAE reads it."""
        return latent * self.std + self.mean


def _encode(model: Any, stages: Stages, video: Tensor, check: Callable[[], None]) -> Tensor:
    pieces = (video[:, :, max(stop - 4, 0) : stop] for stop in range(1, video.shape[2] + 1, 4))
    found: list[Tensor] = []
    stages.run(pieces, lambda encoded: found.extend(piece.to(video.device) for piece in encoded), check)
    return model.quant_conv(torch.cat(found, dim=2)).chunk(2, dim=1)[0]


def _decode(model: Any, stages: Stages, latent: Tensor, check: Callable[[], None]) -> Tensor:
    _, _, frames, height, width = latent.shape
    video = torch.empty(3, 4 * frames - 3, 8 * height, 8 * width).movedim(1, 0)

    def collect(pieces: Iterable[Tensor]) -> None:
        start = 0
        for piece in pieces:
            stop = start + piece.shape[2]
            video[start:stop] = _as_frames(piece.clamp(-1, 1))
            start = stop

    z = model.post_quant_conv(latent)
    stages.run((z[:, :, number : number + 1] for number in range(frames)), collect, check)
    return video


def _as_frames(video: Tensor) -> Tensor:
    """[1, 3, T, H, W] in -1..1 -> [T, 3, H, W] in 0..1, on the CPU."""
    return (video[0].movedim(1, 0) / 2 + 0.5).cpu()


def _load_vae(path: Path) -> Any:
    if path.is_dir():
        loaded: Any = AutoencoderKLWan.from_pretrained(path, torch_dtype=torch.float32, low_cpu_mem_usage=False,
                                                       output_loading_info=True)
        model, report = loaded
        missing = report["missing_keys"]
    else:
        config, state = official_names.vae(_official_state(path))
        model = AutoencoderKLWan(**config)
        missing = model.load_state_dict(state, strict=False).missing_keys
    _refuse_missing(path, missing)
    return model.eval()


def _load_transformers(path: Path, model_class: type, config_class: type, naming: Naming, dtype: torch.dtype) -> Any:
    """A transformers model from its folder or from an official file; from_pretrained leaves it in evaluation mode."""
    transformers.utils.logging.disable_progress_bar()
    if path.is_dir():
        model, report = model_class.from_pretrained(path, dtype=dtype, output_loading_info=True)
    else:
        config, state = naming(_official_state(path))
        model, report = model_class.from_pretrained(None, config=config_class(**config), state_dict=state, dtype=dtype,
                                                    output_loading_info=True)
    _refuse_missing(path, report["missing_keys"])
    return model


def _refuse_missing(path: Path, names: Iterable[str]) -> None:
    # both libraries would fill the gaps with random numbers
    missing = sorted(names)
    if missing:
        raise RuntimeError(f"{path} lacks {len(missing)} tensors, first {missing[0]}: download it again.")


def _official_state(path: Path) -> dict[str, Tensor]:
    return torch.load(path, map_location="cpu", mmap=True, weights_only=True)


def _check(path: Path, naming: Naming) -> None:
    """Open every file of a part far enough to see that it is whole and of the right model."""
    if path.is_dir():
        _check_folder(path)
        return
    try:
        state = _official_state(path)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise RuntimeError(f"{path} is not a torch file or was cut short: download it again.") from error
    try:
        naming(state)
    except KeyError as error:
        raise RuntimeError(f"{path} lacks {error}, so it is another model: give the official file.") from error


def _check_folder(path: Path) -> None:
    files = sorted(path.glob("*.safetensors"))
    if not files or not (path / "config.json").is_file():
        raise RuntimeError(f"{path} lacks config.json or .safetensors files: download the folder again.")
    for file in files:
        try:
            with safe_open(file, framework="numpy"):
                pass
        except SafetensorError as error:
            raise RuntimeError(f"{file} is damaged or was cut short ({error}): download it again.") from error
