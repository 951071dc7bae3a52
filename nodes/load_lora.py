"""Load SCAIL-2 LoRA: a file in `loras` -> the MODEL with it."""

import folder_paths
from comfy_api.latest import io

from ..scail_model.comfy import loras
from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY


class SCAIL2LoadLora(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2LoadLora",
            display_name="Load SCAIL-2 LoRA",
            category=CATEGORY,
            description="Puts a LoRA on the model, whatever its trainer calls the tensors. Says how many fit, and "
                        "stops with a sentence if none does.",
            search_aliases=["lora", "load lora", "lightx2v", "dora", "lokr", "loha"],
            inputs=[
                io.Model.Input("model", tooltip="The SCAIL-2 transformer, also from other loaders."),
                io.Combo.Input("lora_name", options=folder_paths.get_filename_list("loras"),
                               tooltip="LoRA file in models/loras."),
                io.Float.Input("strength", default=1.0, min=-10.0, max=10.0, step=0.01,
                               tooltip="How much of the LoRA is added; 0 leaves the model as it is."),
            ],
            outputs=[io.Model.Output(tooltip="The model with the LoRA."),
                     io.String.Output("report", tooltip="How many tensors of the file are used, and why others are "
                                                        "not.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("loading the LoRA")
    def execute(cls, model, lora_name: str, strength: float) -> io.NodeOutput:
        path = folder_paths.get_full_path_or_raise("loras", lora_name)
        return io.NodeOutput(*loras.add(model, path, strength))
