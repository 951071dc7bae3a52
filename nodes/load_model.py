"""Load SCAIL-2 Model: a file in `diffusion_models` -> MODEL."""

import folder_paths
import torch
from comfy_api.latest import io

from ..scail_model.comfy import attention as comfy_attention
from ..scail_model.comfy import loader
from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY
from ..scail_model.gpus.choice import OFFERED, wanted_gpus
from ..scail_model.kernels.attention_backends import AUTOMATIC, HELP
from ..scail_model.kernels.precision import EXACT, PRECISIONS

_WEIGHT_DTYPES = {
    "default": {},
    "fp8_e4m3fn": {"dtype": torch.float8_e4m3fn},
    "fp8_e4m3fn_fast": {"dtype": torch.float8_e4m3fn, "fp8_optimizations": True},
    "fp8_e5m2": {"dtype": torch.float8_e5m2},
}


class SCAIL2LoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2LoadModel",
            display_name="Load SCAIL-2 Model",
            category=CATEGORY,
            description="Loads the SCAIL-2 transformer with the official numerics. Takes bf16, fp16, fp32, fp8_scaled "
                        "and int8 safetensors and the official SAT checkpoint.",
            search_aliases=["scail", "scail2", "wan scail", "load diffusion model"],
            inputs=[
                io.Combo.Input("model_name", options=folder_paths.get_filename_list("diffusion_models"),
                               tooltip="SCAIL-2 file in models/diffusion_models."),
                io.Combo.Input("weight_dtype", options=list(_WEIGHT_DTYPES), default="default", advanced=True,
                               tooltip="default keeps the dtype of the file. fp8 halves the memory of a bf16 or fp16 "
                                       "file at some loss; fast also computes in fp8 if the GPU supports it."),
                io.Combo.Input("precision", options=list(PRECISIONS), default=EXACT, optional=True,
                               tooltip="exact computes in the precision of the file. 8-bit stores most linears in "
                                       "int8: a third less memory and faster, at a small error. fast also leaves out "
                                       "most of self-attention, and measures its error while it samples. Reports and "
                                       "video files name the precision."),
                io.Combo.Input("attention", options=comfy_attention.names(), default=AUTOMATIC, optional=True,
                               advanced=True,
                               tooltip=" ".join(f"{name}: {text}" for name, text in HELP.items())
                                       + " The log says what was chosen and why."),
                io.Combo.Input("gpus", options=list(OFFERED), default=OFFERED[0], optional=True,
                               tooltip="How many GPUs of this machine make one video together: they share the tokens, "
                                       "and the result is the same to the bit. Each holds the whole model. If so many "
                                       "cannot work together, fewer do, and the log and the report say why."),
            ],
            outputs=[io.Model.Output(tooltip="The SCAIL-2 transformer, for LoRA loaders and any sampler.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, gpus: str | float = OFFERED[0]) -> bool | str:
        """In place of core's check of the choices: programs may ask for 2 as a number, and for any number."""
        try:
            wanted_gpus(gpus)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    @working("loading the model")
    def execute(cls, model_name: str, weight_dtype: str, precision: str = EXACT,
                attention: str = AUTOMATIC, gpus: str | float = OFFERED[0]) -> io.NodeOutput:
        wanted = wanted_gpus(gpus)
        path = folder_paths.get_full_path_or_raise("diffusion_models", model_name)
        how = {"precision": precision, "attention": attention}
        return io.NodeOutput(loader.load(path, _WEIGHT_DTYPES[weight_dtype] | how, wanted_gpus=wanted))
