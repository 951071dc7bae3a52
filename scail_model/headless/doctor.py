"""`scail2 doctor`: the command line as the doctor's host."""

from __future__ import annotations

import argparse
import gc
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..doctor.inputs import Inputs
from ..doctor.model_files import (
    CLIPS,
    MISSING,
    ROLES,
    TEXT_ENCODERS,
    TRANSFORMERS,
    VAES,
    At,
    FileFact,
    best_transformer,
    in_folders,
    look,
    missing,
)
from ..doctor.modes import Mode, Running, Subject
from ..doctor.report import Host, Report
from ..files.atomic import explained, writing
from ..gpus.choice import all_gpus
from ..kernels.sparse_attention import RUN
from ..preflight.budget import Machine
from ..sparse.run import SparseRun
from ..video.voice import Voice
from .attention import choose
from .device import machine, usual_device
from .weights import open_weights

_PAUSE = 3.0  # seconds between two lines
_STILL = 5.0
# role -> names in a folder in diffusers form and in the official one
_PLACES = {
    VAES: ("vae", "Wan2.1_VAE.pth"),
    TEXT_ENCODERS: ("text_encoder", "umt5-xxl/models_t5_umt5-xxl-enc-bf16.pth"),
    CLIPS: ("image_encoder", "models_clip_open-clip-xlm-roberta-large-vit-huge-14-onlyvisual.pth"),
}
_TOKENIZER = "tokenizer"
_GIVE = "give the official SCAIL-2 folder or a Wan 2.1 folder in diffusers form"
_TOKENIZERS = (_TOKENIZER, "umt5-xxl")


def add_doctor(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `scail2 doctor` to its parser."""
    command.add_argument("--ckpt_dir", metavar="FOLDER",
                         help="folder with the models: the official SCAIL-2 folder, a Wan 2.1 folder in diffusers "
                              "form, or ComfyUI's folder models")
    command.add_argument("--scail_path", metavar="FILE",
                         help="SCAIL-2 transformer to measure (default: the one in --ckpt_dir)")
    command.add_argument("--json", metavar="FILE", help="write everything to this .json file, to attach to a report; "
                                                        "an older one is replaced")


def run(arguments: argparse.Namespace) -> bool:
    """Examine, and print the page; returns whether nothing is wrong. After Ctrl-C the page tells what was found so
    far. RuntimeError for a file that cannot be written and a folder that does not exist."""
    target = None if arguments.json is None else _target(Path(arguments.json))
    report = Report(_host(arguments))
    try:
        with _Teller() as teller:
            report.examine(teller.at)
    finally:
        sys.stdout.write(f"{report.as_text()}\n")
        sys.stdout.flush()
        if target is not None:
            with explained(f"{target} (--json)", "or choose another name"), writing(target) as part:
                part.write_text(report.as_json(), encoding="utf-8")
            sys.stdout.write(f"\nwrote {target}\n")
    return report.ok


def _target(path: Path) -> Path:
    if path.suffix != ".json":
        raise RuntimeError(f"{path} (--json) does not end with .json: end it with .json.")
    if not path.parent.is_dir():
        raise RuntimeError(f"The folder {path.parent} (--json) does not exist: make it first.")
    if path.is_dir():
        raise RuntimeError(f"{path} (--json) is a folder: choose another name.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise RuntimeError(f"{path} (--json) may not be written: change its permissions, or choose another folder.")
    return path


def _host(arguments: argparse.Namespace) -> Host:
    folder = None if arguments.ckpt_dir is None else Path(arguments.ckpt_dir)
    given = None if arguments.scail_path is None else Path(arguments.scail_path)
    if folder is not None and folder.is_file():
        raise RuntimeError(f"{folder} (--ckpt_dir) is a file: give the folder, or name a transformer with "
                           "--scail_path.")
    if folder is not None and not folder.is_dir():
        raise RuntimeError(f"The folder {folder} (--ckpt_dir) does not exist: check the path.")
    device, _ = usual_device()
    facts: list[FileFact] = []

    def files(at: At) -> list[FileFact]:
        facts.extend(_files(folder, given, at))
        return facts

    def subject(at: At, room: Machine) -> Subject | None:
        best = best_transformer(facts)
        return None if best is None or best.path is None else _FileSubject(best.path, room)

    needed = [*(role.name for role in ROLES if role.needed), _TOKENIZER] if folder is not None else [TRANSFORMERS.name]
    folders = {"here": Path.cwd(), **({} if folder is None else {"models": folder})}
    return Host("command line", {}, {}, folders, device, lambda: machine([device], timed=True), files, subject, needed,
                all_gpus(device))


def _files(folder: Path | None, given: Path | None, at: At) -> list[FileFact]:
    found = [] if given is None else [look(TRANSFORMERS, given, at)]
    if folder is None:
        return found
    if (folder / "diffusion_models").is_dir():  # ComfyUI's
        return found + [fact for role in ROLES for fact in in_folders(role, _within(folder / role.folder), at)
                        if given is None or role is not TRANSFORMERS]
    if given is None:
        found.append(look(TRANSFORMERS, folder, at) if (folder / "model/latest").is_file() else
                     missing(TRANSFORMERS, "there is none (model/latest): name one with --scail_path"))
    if not any((folder / name).is_dir() for name in _TOKENIZERS):
        found.append(FileFact(_TOKENIZER, "", MISSING, f"there is neither {' nor '.join(_TOKENIZERS)}: {_GIVE}"))
    for role, names in _PLACES.items():
        path = next((folder / name for name in names if (folder / name).exists()), None)
        found.append(look(role, path, at) if path is not None else
                     missing(role, f"there is neither {' nor '.join(names)}: {_GIVE}"))
    return found


def _within(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class _FileSubject:
    """A checkpoint, whose network lies on the device as a whole, as when a video is generated. Raises as
    `open_weights` does."""

    in_chunks = False

    def __init__(self, path: Path, machine: Machine) -> None:
        self.path, self.machine = path, machine
        self.device, self.dtype = usual_device()
        self.name, self.config = path.name, open_weights(path).config
        count = sum(map(math.prod, self.config.parameter_shapes().values()))
        self.held_bytes = count * self.dtype.itemsize

    def run(self, mode: Mode, inputs: Inputs, use: Callable[[Running], None]) -> None:
        free = self.machine.free_ram
        if self.device.type == "cpu" and self.held_bytes > free:
            raise ValueError(f"the model runs on the CPU and needs {self.held_bytes / 2**30:.0f} GiB of main memory, "
                             f"of which {free / 2**30:.0f} are free")
        try:
            use(self._running(mode, inputs))
        finally:  # what the network held, before the next one comes
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _running(self, mode: Mode, inputs: Inputs) -> Running:
        attention = choose(mode.attention(self.device), self.device, mode.precision)
        network = open_weights(self.path).build(self.device, self.dtype, attention, mode.precision)
        arguments = inputs.arguments(self.device)
        stored = str(network.get_parameter("blocks.0.ffn.2.weight").dtype).removeprefix("torch.")

        def forward(run: SparseRun | None) -> Tensor:
            return network(**arguments, transformer_options={} if run is None else {RUN: run})

        return Running(network, attention.name, attention.reason, stored, attention.sparse, forward)


class _Teller:
    """Lines on stderr: what goes on, every few seconds."""

    def __init__(self) -> None:
        self.text, self.told = "", time.monotonic()
        self.voice = Voice(self._still, _STILL)

    def __enter__(self) -> _Teller:
        self.voice.__enter__()
        return self

    def __exit__(self, *_) -> None:
        self.voice.__exit__()

    def at(self, text: str) -> None:
        self.text = text or self.text
        if text and time.monotonic() - self.told >= _PAUSE:
            self._line(text)
            self.voice.heard()

    def _still(self, seconds: float) -> None:
        self._line(f"{self.text}, {seconds:.0f} s")

    def _line(self, text: str) -> None:
        self.told = time.monotonic()
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
