"""ComfyUI as the doctor's host: its versions, its model folders, and a MODEL whose forwards run as in a sampling."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import comfy.clip_vision
import comfy.memory_management
import comfy.model_management
import comfy.sample
import comfy.samplers
import comfyui_version
import folder_paths
import torch
from torch import Tensor

from ..doctor.inputs import SIGMA, Inputs
from ..doctor.model_files import ROLES, TRANSFORMERS, At, FileFact, best_transformer, in_folders
from ..doctor.modes import Mode, Running, Subject
from ..doctor.report import Host
from ..gpus.choice import all_gpus
from ..kernels.sparse_attention import RUN
from ..preflight.budget import Machine
from ..sparse.run import SparseRun
from . import attention, conditioning, loader
from .loras import config_of
from .model import ComfyTransformer, weight_format
from .patches import NETWORK
from .preflight import check_model, in_chunks, machine
from .shared_network import with_our_network
from .sparse import is_sparse

_GGUF_FOLDERS = ("unet_gguf",)
_BLOCKS_AT_ONCE = 2  # of the weights: the one that computes, and the next one


def host(model, choose_file: Callable[[list[FileFact]], Path | None]) -> Host:
    """model: a MODEL to examine, or None. choose_file: asked for a transformer among the files that are there, if no
    MODEL is given."""
    device = comfy.model_management.get_torch_device() if model is None else model.load_device
    facts: list[FileFact] = []

    def files(at: At) -> list[FileFact]:
        facts.extend(fact for role in ROLES for fact in in_folders(role, _files(role.folder), at))
        return facts

    def subject(at: At, room: Machine) -> Subject | None:
        if model is not None:
            return ModelSubject(model, room)
        path = choose_file(facts)
        if path is None:
            return None
        at(f"loading {path.name}")
        return ModelSubject(loader.load(path), room)

    return Host("ComfyUI", _versions(), _settings(), _folders(), device, lambda: machine(device, timed=True), files,
                subject, gpus=all_gpus(device))


def chosen(facts: list[FileFact]) -> Path | None:
    """The file to examine if nobody has chosen one."""
    best = best_transformer(facts)
    return None if best is None else best.path


class ModelSubject:
    """A MODEL; other precisions than its own are loaded from the same file, with the same LoRAs and patches. Raises
    ValueError if it is not SCAIL-2, or carries what only core's own network runs."""

    def __init__(self, model, room: Machine) -> None:
        check_model(model)
        self.model, self.device, self.machine = with_our_network(model), model.load_device, room
        if not isinstance(self.model.get_model_object(NETWORK), ComfyTransformer):
            raise ValueError("The model carries patches that only core's own network runs, which cannot be looked "
                             "into: connect it without them.")
        self.name = _file_name(model)
        self.config, self.in_chunks = config_of(model), in_chunks(self.model)
        self.held_bytes = _BLOCKS_AT_ONCE * model.model_size() // self.config.num_layers

    def run(self, mode: Mode, inputs: Inputs, use: Callable[[Running], None]) -> None:
        model = self._in(mode)

        def sample(denoise, x: Tensor, sigmas: Tensor, extra_args: dict, callback=None, disable=None) -> Tensor:
            noisy = inputs.x.to(x)

            def forward(run: SparseRun | None) -> Tensor:
                asked = extra_args if run is None else extra_args | {"model_options": _with_run(
                    extra_args["model_options"], run)}
                return (noisy - denoise(noisy, noisy.new_full((1,), SIGMA), **asked)) / SIGMA

            network = model.get_model_object(NETWORK)
            backend = network.backend
            use(Running(network, backend.name, backend.reason, weight_format(network), is_sparse(model), forward))
            return x

        prompt = [[inputs.text, _values(inputs, model)]]
        empty = torch.zeros_like(inputs.x)
        comfy.sample.sample_custom(model, empty, 1.0, comfy.samplers.KSAMPLER(sample), torch.tensor((SIGMA, 0.0)),
                                   prompt, prompt, empty, disable_pbar=True, seed=0)

    def _in(self, mode: Mode):
        """The MODEL in this mode. ValueError if it cannot be had."""
        network = self.model.get_model_object(NETWORK)
        if network.precision == mode.precision and network.backend.sparse == mode.sparse:
            return self.model
        loaded = self.model.cached_patcher_init
        if loaded is None or loaded[0] is not loader.load:
            raise ValueError("the model comes from another loader: connect Load SCAIL-2 Model")
        path, options = loaded[1]
        other = loader.load(path, {**(options or {}), "precision": mode.precision,
                                   "attention": mode.attention(self.device)})
        return self.model.clone(model_override=other.get_clone_model_override())


def _with_run(model_options: dict, run: SparseRun) -> dict:
    return model_options | {"transformer_options": model_options.get("transformer_options", {}) | {RUN: run}}


def _values(inputs: Inputs, model) -> dict:
    """Of a prompt's conditioning."""
    clip = comfy.clip_vision.Output()
    clip["penultimate_hidden_states"] = inputs.clip
    as_the_vae_gives_it = model.model.latent_format.process_out
    return conditioning.motion_values(
        [as_the_vae_gives_it(inputs.reference_latents)], inputs.reference_masks.movedim(2, 1), clip,
        as_the_vae_gives_it(inputs.driving_latents), inputs.driving_masks[0], replacement=False)


def _file_name(model) -> str:
    _, (path, *_), *_ = model.cached_patcher_init or (None, (None,))
    return os.path.basename(path) if isinstance(path, str | os.PathLike) else type(model.model).__name__


def _files(folder: str) -> list[Path]:
    """All model files of a folder of ComfyUI's, which may be several on the disk; ComfyUI-GGUF lists its own apart."""
    listed = [folder, *(_GGUF_FOLDERS if folder == TRANSFORMERS.folder else ())]
    paths = (folder_paths.get_full_path(each, name) for each in listed if each in folder_paths.folder_names_and_paths
             for name in folder_paths.get_filename_list(each))
    return [Path(path) for path in paths if path is not None]


def _folders() -> dict[str, Path]:
    return {"models": Path(folder_paths.get_folder_paths("diffusion_models")[0]),
            "output": Path(folder_paths.get_output_directory())}


def _versions() -> dict[str, str]:
    found = {"ComfyUI": comfyui_version.__version__}
    try:
        return found | {"page": version("comfyui-frontend-package")}
    except PackageNotFoundError:
        return found


def _settings() -> dict[str, str]:
    dynamic = comfy.memory_management.aimdo_enabled
    return {"attention": attention.CORE_NAME, "memory": comfy.model_management.vram_state.name.lower(),
            "dynamic memory": "on" if dynamic else "off"}
