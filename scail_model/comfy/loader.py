"""Files in ComfyUI's model folders -> a MODEL with our transformer, loaded as core loads its own."""

from __future__ import annotations

import logging
import os
import zipfile
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch
from torch import Tensor

from ..checkpoint import load_checkpoint, open_index, with_official_names
from ..config import TransformerConfig, refuse_other_models
from ..kernels.attention_backends import AUTOMATIC, SPARSE
from ..kernels.attention_choice import Backend
from ..kernels.precision import EXACT, FAST, int8_linears, int8_storage
from . import attention, gpus, int8, patches, sparse
from .model import SCAIL2Config

log = logging.getLogger(__name__)

_SAFETENSORS = (".safetensors", ".sft")
_ATTENTION_PREFERENCE = ".comfy_attention.config"


def load(path: str | os.PathLike, model_options: dict[str, Any] | None = None, disable_dynamic: bool = False, *,
         wanted_gpus: int | None = 1) -> comfy.model_patcher.ModelPatcher:
    """Load a SCAIL-2 transformer from any file that `load_checkpoint` accepts, also fp8 and int8 files.

    model_options: `dtype` (storage) and `fp8_optimizations`, as in core's loader; `precision` (one of PRECISIONS) and
    `attention` (a name of `comfy_attention.names()`), as in the node. wanted_gpus: how many make a video together, None
    for all.
    Raises RuntimeError for files that cannot be read and ValueError, naming the model, for files of another one.
    """
    state_dict, metadata = _read(os.fspath(path))
    patcher = load_state_dict(state_dict, metadata, model_options, disable_dynamic, called=os.fspath(path),
                              wanted_gpus=wanted_gpus)
    for each in (patcher, *patcher.get_additional_models_with_key(patches.COPIES)):
        # compile, weight hooks and core's MultiGPU build the model again, without dynamic memory
        each.cached_patcher_init = (load, (path, model_options))
    return patcher


def load_state_dict(state_dict: dict[str, Tensor], metadata: dict[str, str],
                    model_options: dict[str, Any] | None = None, disable_dynamic: bool = False, *,
                    called: str = "The checkpoint", wanted_gpus: int | None = 1) -> comfy.model_patcher.ModelPatcher:
    """`load` for tensors under official names; the dict is emptied. called: how messages name the file."""
    options = {} if model_options is None else model_options
    patcher_options = _disk(state_dict)
    _drop_attention_preferences(state_dict)
    state_dict, _ = comfy.utils.convert_old_quants(state_dict, "", metadata=metadata)
    config = TransformerConfig.from_state_dict(state_dict, called=called)
    load_device = comfy.model_management.get_torch_device()
    precision = options.get("precision", EXACT)
    backend = attention.choose(options.get("attention", AUTOMATIC), load_device, precision)
    if int8_storage(precision):
        _store_in_int8(state_dict, config, options, load_device)
    build = partial(_build, config, options, backend, disable_dynamic, patcher_options)
    offload_device = comfy.model_management.unet_offload_device()
    if wanted_gpus == 1:
        return build(offload_device, state_dict)
    # With dynamic memory all copies hold the same tensors in main memory, so these are read and converted once. Copies
    # begin there in any case: a ComfyUI that keeps all on the GPU names the first one.
    return gpus.with_copies(build(offload_device, dict(state_dict)), wanted_gpus,
                            lambda: build(torch.device("cpu"), dict(state_dict)))


def _build(config: TransformerConfig, options: dict[str, Any], backend: Backend, disable_dynamic: bool,
           patcher_options: dict[str, Any], offload_device: torch.device, state_dict: dict[str, Tensor]
           ) -> comfy.model_patcher.ModelPatcher:
    """A MODEL around the tensors of a file, as they are to be stored."""
    load_device, precision = comfy.model_management.get_torch_device(), options.get("precision", EXACT)
    model_config = SCAIL2Config(config)
    model_config.quant_config = comfy.utils.detect_layer_quantization(state_dict, "")
    _choose_dtypes(model_config, state_dict, options, load_device)

    model = model_config.get_model(state_dict, "")
    model.diffusion_model.precision = precision
    model.diffusion_model.use_attention(backend)
    log.info("SCAIL-2: precision %s, attention %s (%s).", precision, backend.name, backend.reason)
    # looked up at every call: ComfyUI exchanges the class when dynamic memory is on
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(model, load_device=load_device, offload_device=offload_device, **patcher_options)
    patches.add_check(patcher)
    gpus.add_sharing(patcher)
    if backend.sparse:
        sparse.add_runs(patcher)
    if not comfy.model_management.is_device_cpu(offload_device):
        model.to(offload_device)
    model.load_model_weights(state_dict, "", assign=patcher.is_dynamic())
    if not patcher.is_dynamic() and model_config.quant_config is None:
        _cast_late_parameters(model)
    return patcher


def _disk(state_dict: dict[str, Tensor]) -> dict[str, Any]:
    """Whether the file lies on a fast disk, as an argument of the patcher of those ComfyUIs that ask for it."""
    if find_spec("comfy.storage") is None:
        return {}
    return {"fast_disk": import_module("comfy.storage").state_dict_fast_disk(state_dict)}


def _drop_attention_preferences(state_dict: dict[str, Tensor]) -> None:
    """A file may name an attention for each layer. Here the node chooses one for all."""
    layers = [name for name in state_dict if name.endswith(_ATTENTION_PREFERENCE)]
    for name in layers:
        del state_dict[name]
    if layers:
        log.warning("SCAIL-2: the file asks for attention functions of its own in %d layers, which are not used: "
                    "choose one for the whole model with attention in Load SCAIL-2 Model.", len(layers))


def _cast_late_parameters(model: torch.nn.Module) -> None:
    """To the dtype that ComfyUI has noted for them. Linears that get their parameters only when the file is read keep
    the file's; dynamic memory casts them on the way to the GPU, but without it nothing would."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            parameter.data = parameter.data.to(getattr(module, f"{name}_comfy_model_dtype", None) or parameter.dtype)


def _read(path: str) -> tuple[dict, dict[str, str]]:
    # first: this names what is wrong with a file better than the readers do
    refuse_other_models(open_index(path).records, path)
    if not path.lower().endswith(_SAFETENSORS) or zipfile.is_zipfile(path):
        return load_checkpoint(path)
    state_dict, metadata = comfy.utils.load_torch_file(path, return_metadata=True)
    return with_official_names(state_dict), metadata or {}


def _choose_dtypes(model_config: SCAIL2Config, state_dict: dict[str, Tensor], options: dict[str, Any],
                   device: torch.device) -> None:
    """Storage and compute dtype by core's rules: quantised files keep theirs, the rest as asked or as the GPU likes."""
    supported = model_config.supported_inference_dtypes
    quantised = model_config.quant_config is not None
    dtype = options.get("dtype")
    if dtype is None:
        dtype = comfy.model_management.unet_dtype(
            model_params=comfy.utils.calculate_parameters(state_dict), supported_dtypes=list(supported),
            weight_dtype=None if quantised else comfy.utils.weight_dtype(state_dict),
        )
    compute = comfy.model_management.unet_manual_cast(None if quantised else dtype, device, supported)
    model_config.set_inference_dtype(dtype, compute)
    if options.get("fp8_optimizations", False) and not quantised:
        model_config.optimizations["fp8"] = True
        _store_in_8_bits(state_dict, dtype)


def _store_in_int8(state_dict: dict[str, Tensor], config: TransformerConfig, options: dict[str, Any],
                   device: torch.device) -> None:
    """Raises ValueError for a file whose linears are in 8 bits already, of whatever kind."""
    if options.get("dtype") is not None:
        raise ValueError(f"precision {options['precision']} chooses how weights are stored, and weight_dtype asks for "
                         f"{_name(options['dtype'])}: set weight_dtype to default.")
    linears = int8_linears(config.num_layers)
    narrow = next((name for name in linears if state_dict[f"{name}.weight"].element_size() == 1), None)
    if narrow is not None:
        precision = options["precision"]
        as_it_is = f"{EXACT} with attention {SPARSE}" if precision == FAST else EXACT
        raise ValueError(f"precision is {precision}, but this file holds {narrow} in "
                         f"{_name(state_dict[f'{narrow}.weight'].dtype)} already: choose {as_it_is} to use it as it "
                         "is, or load the bf16 or fp16 file.")
    int8.convert(state_dict, linears, device)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _store_in_8_bits(state_dict: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Convert the blocks' linears now: with dynamic memory, ComfyUI computes in fp8 only if weights come in fp8."""
    for name, tensor in state_dict.items():
        if name.startswith("blocks.") and tensor.ndim == 2:
            state_dict[name] = tensor.to(dtype)
