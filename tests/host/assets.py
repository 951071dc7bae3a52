"""What the host tests feed into ComfyUI: tiny models in many file forms, drawn clips, masks and pictures."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import golden
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from scail_model.lora import merge_lora
from scail_model.media.x264 import SAME_FILE

FRAMES, HEIGHT, WIDTH = 21, 64, 96  # of the drawn driving clip
FPS = Fraction(25, 2)
SAMPLE_RATE = 16000
LORA_STRENGTH = 0.7
# of the drawn people, in the order in which the masks count them
COLOURS = {"blue": (0, 0, 255), "red": (255, 0, 0)}


# Models

def write_models(folder: Path) -> None:
    """The tiny transformer of the golden data as every kind of file that the loader takes, and broken ones."""
    weights = golden.tiny_weights()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "fp32.safetensors")
    save_file({name: value.bfloat16() for name, value in weights.items()}, folder / "bf16.safetensors")
    save_file({f"model.diffusion_model.{name}": value for name, value in weights.items()},
              folder / "prefixed.safetensors")
    save_file(_scaled_fp8_old(weights), folder / "fp8_old.safetensors")
    save_file(_scaled_fp8(weights), folder / "fp8_new.safetensors")
    save_file(_int8(weights), folder / "int8.safetensors")
    torch.save({"module": to_sat(weights)}, folder / "sat.pt")
    _write_broken(weights, folder)


def _write_broken(weights: dict[str, Tensor], folder: Path) -> None:
    missing = dict(weights)
    del missing["blocks.1.ffn.0.weight"], missing["blocks.1.cross_attn.k_img.bias"]
    save_file(missing, folder / "missing.safetensors")
    save_file(weights | {"head.head.bias": weights["head.head.bias"] * math.nan}, folder / "nan.safetensors")
    save_file({name: value for name, value in weights.items() if "patch_embedding_mask" not in name},
              folder / "scail1.safetensors")
    whole = (folder / "fp32.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "page.safetensors").write_bytes(b"<html>not found</html>")


def _block_linears(weights: dict[str, Tensor]) -> Iterable[str]:
    return [name.removesuffix(".weight") for name, value in weights.items()
            if name.startswith("blocks.") and name.endswith(".weight") and value.ndim == 2]


def _scaled_fp8_old(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """ComfyUI's first scaled form: `scale_weight` beside each weight, one `scaled_fp8` for the file."""
    stored = dict(weights)
    for layer in _block_linears(weights):
        stored[f"{layer}.weight"], stored[f"{layer}.scale_weight"] = _fp8(weights[f"{layer}.weight"])
    return stored | {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}


def _scaled_fp8(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """ComfyUI's present form: `weight_scale` and the format's name beside each weight."""
    stored = dict(weights)
    for layer in _block_linears(weights):
        stored[f"{layer}.weight"], stored[f"{layer}.weight_scale"] = _fp8(weights[f"{layer}.weight"])
        stored[f"{layer}.comfy_quant"] = _format("float8_e4m3fn")
    return stored


def _int8(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    stored = dict(weights)
    for layer in _block_linears(weights):
        weight = weights[f"{layer}.weight"]
        scale = weight.abs().max() / 127
        stored[f"{layer}.weight"] = (weight / scale).round().to(torch.int8)
        stored[f"{layer}.weight_scale"] = scale
        stored[f"{layer}.comfy_quant"] = _format("int8_tensorwise")
    return stored


def _fp8(weight: Tensor) -> tuple[Tensor, Tensor]:
    scale = weight.abs().max() / torch.finfo(torch.float8_e4m3fn).max
    return (weight / scale).to(torch.float8_e4m3fn), scale


def _format(name: str) -> Tensor:
    return torch.tensor(list(json.dumps({"format": name}).encode()), dtype=torch.uint8)


def to_sat(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Official names -> the names and fused tensors of the authors' training code, as the golden mapping has them."""
    mapping = json.loads((golden.GOLDEN / "G1_sat_checkpoint/mapping.json").read_text())["sat_to_official"]
    return {name: torch.cat([weights[part] for part in parts]) if len(parts) > 1 else weights[parts[0]]
            for name, parts in mapping.items() if all(part in weights for part in parts)}


def write_lora(models: Path) -> None:
    """A LoRA in ComfyUI form, and the tiny transformer with that LoRA merged."""
    (models / "loras").mkdir(exist_ok=True)
    weights, generator = golden.tiny_weights(), torch.Generator().manual_seed(5)
    lora = {}
    for layer in _block_linears(weights):
        rows, columns = weights[f"{layer}.weight"].shape
        lora[f"diffusion_model.{layer}.lora_down.weight"] = torch.randn(4, columns, generator=generator) * 0.15
        lora[f"diffusion_model.{layer}.lora_up.weight"] = torch.randn(rows, 4, generator=generator) * 0.15
        lora[f"diffusion_model.{layer}.alpha"] = torch.tensor(2.0)
    lora["diffusion_model.blocks.0.norm3.diff"] = torch.randn(256, generator=generator) * 0.1
    lora["diffusion_model.blocks.0.ffn.0.diff_b"] = torch.randn(512, generator=generator) * 0.1
    save_file(lora, models / "loras/lora.safetensors")
    merge_lora(weights, lora, LORA_STRENGTH)
    save_file(weights, models / "diffusion_models/merged.safetensors")


# Pictures

def write_pictures(folder: Path) -> Path:
    """Drawn people as files of a user (mp4 with sound, png) in `folder`, and all of it as tensors in one file."""
    images = {}
    for people in (1, 2):
        images[f"driving{people}"], images[f"driving_mask{people}"] = _clip(people)
        images[f"reference{people}"], images[f"reference_mask{people}"] = _portrait(people)
        images[f"driving_mask{people}_white"] = _background(images[f"driving_mask{people}"], 255)
        images[f"reference_mask{people}_black"] = _background(images[f"reference_mask{people}"], 0)
    # an additional view of the first person, with a mask of its own
    images["references"] = torch.cat((images["reference1"], images["reference1"].flip(2)))
    second_mask = _background(images["reference_mask1"], 0).flip(2)
    for background in ("", "_black"):
        images[f"reference_masks{background}"] = torch.cat((images[f"reference_mask1{background}"], second_mask))
    images |= _wrong(images)
    save_file(images, folder / "images.safetensors")
    write_video(folder / "driving.mp4", images["driving1"], sound=tone(FRAMES / FPS))
    write_video(folder / "driving_mask.mp4", images["driving_mask1"], pixels="yuv444p", options={"qp": "0"})
    for name in ("reference1", "reference_mask1"):
        Image.fromarray(images[name][0].numpy()).save(folder / f"{name}.png")
    return folder / "images.safetensors"


def _wrong(images: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the nodes must refuse: a mask with a faded frame, an empty one, and one of another length."""
    faded = images["driving_mask1"].clone()
    faded[3] = faded[3] // 3 + 80
    return {"faded": faded, "empty": torch.full_like(images["reference_mask1"], 255),
            "empty_black": torch.zeros_like(images["driving_mask1"]), "shorter": images["driving_mask1"][:8].clone(),
            "still": images["driving_mask1"][:1].clone()}


def _clip(people: int) -> tuple[Tensor, Tensor]:
    """Discs that move and breathe over a lawn; masks on black. uint8 [T, h, w, 3] each."""
    y, x = _grid(HEIGHT, WIDTH)
    frames, masks = [], []
    for t in range(FRAMES):
        frame = torch.stack((60 + x / 2, 90 + 20 * torch.sin(x / 5 + y / 7), 50 + y / 2), dim=-1)
        mask = torch.zeros(HEIGHT, WIDTH, 3)
        for person, colour in enumerate(list(COLOURS.values())[:people]):
            centre_x = WIDTH / 2 + (0 if people == 1 else (-15, 15)[person]) + 4 * math.sin(t / 3 + person)
            body = (x - centre_x) ** 2 + (y - 30 - t / 2) ** 2 < (11 + math.sin(t)) ** 2
            frame[body] = torch.tensor((200.0 - 60 * person, 60 + 5 * t, 40 + 120 * person))
            mask[body] = torch.tensor(colour, dtype=torch.float32)
        frames.append(frame)
        masks.append(mask)
    return torch.stack(frames).round().byte(), torch.stack(masks).byte()


def _portrait(people: int) -> tuple[Tensor, Tensor]:
    """Figures in front of a wall; mask on white. uint8 [1, 80, 72, 3] each."""
    y, x = _grid(80, 72)
    picture = torch.stack((170 + 40 * torch.sin(x / 9), 150 - y / 2, 140 + x / 3), dim=-1)
    mask = torch.full((80, 72, 3), 255.0)
    for person, colour in enumerate(list(COLOURS.values())[:people]):
        centre = 36 + (0 if people == 1 else (-14, 14)[person])
        body = ((x - centre).abs() < 10) & (y > 30) | ((x - centre) ** 2 + (y - 24) ** 2 < 90)
        picture[body] = torch.tensor((40.0 + 90 * person, 160 - 50 * person, 70))
        mask[body] = torch.tensor(colour, dtype=torch.float32)
    return picture[None].round().byte(), mask[None].byte()


def _background(mask: Tensor, level: int) -> Tensor:
    """The mask with another background: 0 black, 255 white."""
    nobody = ((mask == 0).all(-1) | (mask == 255).all(-1))[..., None]
    return torch.where(nobody, level, mask).byte()


def _grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    return torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")


def digest(path: Path) -> str:
    """Of a file's content: short where a failing test shows what differs."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_video(path: Path, frames: Tensor, *, pixels: str = "yuv420p", options: dict | None = None,
                rate: Fraction = FPS, sound: np.ndarray | None = None) -> None:
    """H.264. sound: samples [n] at SAMPLE_RATE."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={**(options or {"crf": "12"}), **SAME_FILE})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixels
        track = None if sound is None else container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.numpy(), format="rgb24")))
        container.mux(stream.encode())
        if track is not None:
            sound_frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
            # with a time, so that what the encoder puts before the first sample is told to players
            sound_frame.sample_rate, sound_frame.pts = SAMPLE_RATE, 0
            container.mux(track.encode(sound_frame))
            container.mux(track.encode())


def tone(seconds: Fraction) -> np.ndarray:
    """Samples of a steady sound."""
    return 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE)


def click(seconds: Fraction, at: Fraction) -> np.ndarray:
    """Samples of silence, in which one short burst begins at a time."""
    samples, start = np.zeros(int(seconds * SAMPLE_RATE)), round(at * SAMPLE_RATE)
    samples[start : start + 160] = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(160) / SAMPLE_RATE)
    return samples


def heard(path: Path) -> float:
    """When the click of a file begins, as a player plays it, in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    samples = np.abs(np.concatenate([frame.to_ndarray()[0] for frame in frames]))
    loud = np.flatnonzero(samples > 0.3)
    assert np.ptp(loud) < 0.02 * frames[0].sample_rate  # there is one
    return frames[0].time + loud[0] / frames[0].sample_rate


def pictures_of(path: Path, pixels: str = "rgb24") -> np.ndarray:
    """All frames of a file."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format=pixels) for frame in container.decode(video=0)])


def packets_of(path: Path, kind: str) -> list[bytes]:
    """A stream as it is stored, not decoded. kind: video or audio."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(**{kind: 0}) if packet.size]


def probe(path: Path) -> dict:
    """What a player finds in a video file: every frame is decoded."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = {"fps": stream.average_rate, "size": (stream.width, stream.height),
                 "frames": sum(1 for _ in container.decode(video=0))}
    with av.open(str(path)) as container:
        found["sound"] = 0.0
        if container.streams.audio:
            frames = list(container.decode(audio=0))
            found["sound"] = sum(frame.samples for frame in frames) / frames[0].sample_rate
    return found


