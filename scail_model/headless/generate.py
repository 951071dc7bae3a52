"""`scail2 generate`: check everything, say what will be done, make the video.

The order is the point: files, sizes, colours and the checkpoint's header are read before the first large thing is
loaded, and the models come one after the other.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from .. import geometry
from ..inputs import conditioning
from ..lora import MergeReport
from ..segments import Segment, plan_segments
from ..solvers import make_schedule
from .encoders import VAE, EncoderFiles, encode_clip, encode_texts, find_encoders, tokenize
from .inputs import Files, Inputs, read_inputs
from .memory import Load, check_memory
from .pipeline import Sampling, Texts, encode_references, generate
from .video import VideoWriter
from .weights import Weights, open_weights

_NAME_WORDS = 6
_SEED_BITS = 63  # the official range, 0..sys.maxsize


@dataclass(frozen=True)
class Job:
    """A checked job: everything is known, nothing large is loaded."""

    inputs: Inputs
    segments: list[Segment]
    sampling: Sampling
    tokens: list[Tensor]  # of the prompt, and of the negative prompt where guidance uses it
    encoders: EncoderFiles
    weights: Weights
    cut_out: bool
    offload: bool
    seed: int
    driving: Path
    target: Path


def run(arguments: argparse.Namespace) -> None:
    """Make the video that the command line asks for. ValueError or RuntimeError, in one sentence, for bad input."""
    device, dtype = _device()
    job = _prepare(arguments, device)
    # the last thing that can be wrong, and the first that takes time
    lora = job.weights.merge(Path(arguments.lora_path), arguments.lora_alpha) if arguments.lora_path else None
    _say_plan(job, arguments, lora)
    with torch.inference_mode():
        _make(job, device, dtype)
    sys.stdout.write(f"wrote {job.target}\n")


def _prepare(arguments: argparse.Namespace, device: torch.device) -> Job:
    """Read and check all inputs, the cheap ones first."""
    sampling = Sampling(arguments.sample_solver, arguments.sample_steps, arguments.sample_shift,
                        arguments.sample_guide_scale)
    make_schedule(sampling.solver, sampling.steps, sampling.shift)
    plan_segments(1, arguments.segment_len, arguments.segment_overlap)
    geometry.check_size(arguments.target_w, arguments.target_h)
    encoders = find_encoders(Path(arguments.ckpt_dir))
    weights = open_weights(_transformer_file(arguments))
    prompts = [arguments.prompt] + [arguments.negative_prompt] * (sampling.guidance > 1)
    tokens = [tokenize(encoders, prompt, weights.config.text_len) for prompt in prompts]

    inputs = read_inputs(_files(arguments), arguments.target_w, arguments.target_h, arguments.replace_flag)
    segments = plan_segments(len(inputs.driving), arguments.segment_len, arguments.segment_overlap)
    if device.type == "cuda":
        load = Load(weights.config, inputs.width, inputs.height, segments[0].length, len(inputs.references) - 1,
                    arguments.offload_model)
        check_memory(load, arguments.segment_overlap + 4, torch.cuda.mem_get_info(device)[0])
    return Job(inputs, segments, sampling, tokens, encoders, weights,
               cut_out=arguments.replace_flag and not arguments.keep_reference_background,
               offload=arguments.offload_model,
               seed=arguments.base_seed if arguments.base_seed >= 0 else secrets.randbits(_SEED_BITS),
               driving=Path(arguments.pose), target=_target(arguments, inputs))


def _transformer_file(arguments: argparse.Namespace) -> Path:
    folder = Path(arguments.ckpt_dir)
    if not arguments.scail_path and not (folder / "model" / "latest").is_file():
        raise RuntimeError(f"{folder} (--ckpt_dir) holds no transformer (model/latest): name one with --scail_path.")
    return Path(arguments.scail_path or folder)


def _files(arguments: argparse.Namespace) -> Files:
    images = [arguments.image, *arguments.additional_ref_image]
    masks = [arguments.mask_image, *arguments.additional_ref_mask_image]
    return Files(list(map(Path, images)), list(map(Path, masks)), Path(arguments.pose), Path(arguments.mask_video))


def _target(arguments: argparse.Namespace, inputs: Inputs) -> Path:
    """The file to write. RuntimeError if that will not be possible."""
    words = "_".join(re.findall(r"\w+", arguments.prompt)[:_NAME_WORDS]) or "video"
    name = f"scail2_{inputs.width}x{inputs.height}_{words}_{time.strftime('%Y%m%d_%H%M%S')}.mp4"
    target = Path(arguments.save_file or name)
    if target.suffix != ".mp4":
        raise RuntimeError(f"{target} (--save_file) is no .mp4 name: end it with .mp4.")
    if not target.parent.is_dir():
        raise RuntimeError(f"The folder {target.parent} (--save_file) does not exist: make it first.")
    if not os.access(target.parent, os.W_OK):
        raise RuntimeError(f"The folder {target.parent} (--save_file) cannot be written to: choose another.")
    if target.exists():
        raise RuntimeError(f"{target} (--save_file) exists: choose another name, or remove it.")
    return target


def _say_plan(job: Job, arguments: argparse.Namespace, lora: MergeReport | None) -> None:
    """Print what will be done."""
    inputs, sampling = job.inputs, job.sampling
    lines = [f"{inputs.identities.mode}, {inputs.width}x{inputs.height}, {len(inputs.driving)} frames at "
             f"{float(inputs.fps):g} per second, {len(job.segments)} segment{'s' * (len(job.segments) > 1)}"]
    if inputs.swapped:
        lines.append(f"width and height are swapped ({arguments.target_w}x{arguments.target_h} was asked for), because "
                     "the reference has the other orientation")
    if lora:
        lines.append(f"LoRA {arguments.lora_path}: {len(lora.applied)} tensors merged, {len(lora.unused)} unused")
    lines.append(f"{sampling.solver}, {sampling.steps} steps, shift {sampling.shift:g}, "
                 f"guidance {sampling.guidance:g}, seed {job.seed}")
    lines.append(f"into {job.target}")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _make(job: Job, device: torch.device, dtype: torch.dtype) -> None:
    """Load one model after the other, and write the segments as they are made."""
    inputs = job.inputs
    progress = _Bar(len(job.segments) * job.sampling.steps)
    with progress.bar:
        progress.stage("reading the prompt")
        embeddings = encode_texts(job.encoders, job.tokens, device, dtype)
        _free_memory(device)
        texts = Texts(embeddings[0], embeddings[1] if len(embeddings) > 1 else None)
        progress.stage("encoding the references")
        primary = conditioning.reference_pixels(inputs.references[0], inputs.identities, 0, inputs.height, inputs.width,
                                                cut_out=job.cut_out)
        clip_features = encode_clip(job.encoders, conditioning.clip_input(primary), device)
        _free_memory(device)
        vae = VAE(job.encoders, device)
        references = encode_references(vae, inputs, job.cut_out)
        progress.stage("loading the transformer")
        transformer = job.weights.build(torch.device("cpu") if job.offload else device, dtype)
        segments = generate(transformer, vae, inputs, texts, clip_features, references, job.segments, job.sampling,
                            job.seed, job.offload, progress)
        with VideoWriter(job.target, inputs.width, inputs.height, inputs.fps, frames=len(inputs.driving),
                         audio_source=job.driving) as video:
            for frames in segments:
                video.write(frames)


class _Bar:
    """Progress on the terminal: one bar over the steps of all segments, with what is going on before it."""

    def __init__(self, steps: int) -> None:
        self.bar = tqdm(total=steps, unit="step", disable=None)

    def stage(self, text: str) -> None:
        self.bar.set_description(text)

    def step(self) -> None:
        self.bar.update()


def _device() -> tuple[torch.device, torch.dtype]:
    """Where and in which type the models compute: bfloat16 on a GPU, as official; a CPU is not faster in it."""
    if torch.cuda.is_available():
        return torch.device("cuda"), torch.bfloat16
    return torch.device("cpu"), torch.float32


def _free_memory(device: torch.device) -> None:
    """Give back what the model before held."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
