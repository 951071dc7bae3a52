"""Save and Load Prompt Embedding: encoded prompts in files, so that the text encoder is not loaded again."""

import os

import folder_paths
from comfy_api.latest import io

from ..scail_model.comfy.schema import CATEGORY
from ..scail_model.files import prompts
from ..scail_model.files.prompts import FOLDER

folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


class SCAIL2SavePrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2SavePrompt",
            display_name="Save Prompt Embedding",
            category=CATEGORY,
            description="Writes an encoded prompt to models/scail2_prompts. Load it later instead of loading the text "
                        "encoder (11 GB).",
            search_aliases=["cache prompt", "text embedding", "save conditioning"],
            is_output_node=True,
            inputs=[
                io.Conditioning.Input("conditioning", tooltip="The encoded prompt."),
                io.String.Input("name", default="prompt",
                                tooltip="File name without ending; may contain a sub-folder."),
                io.Boolean.Input("overwrite", default=False, optional=True, tooltip="Replace a file of this name."),
            ],
            outputs=[io.Conditioning.Output(tooltip="The same prompt, unchanged.")],
        )

    @classmethod
    def execute(cls, conditioning, name: str, overwrite: bool = False) -> io.NodeOutput:
        folder = folder_paths.get_folder_paths(FOLDER)[0]
        prompts.save(conditioning, folder, name, overwrite=overwrite)
        return io.NodeOutput(conditioning)


class SCAIL2LoadPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2LoadPrompt",
            display_name="Load Prompt Embedding",
            category=CATEGORY,
            description="Reads a prompt written by Save Prompt Embedding.",
            search_aliases=["cached prompt", "text embedding", "load conditioning"],
            inputs=[io.Combo.Input("file", options=folder_paths.get_filename_list(FOLDER),
                                   tooltip="File in models/scail2_prompts.")],
            outputs=[io.Conditioning.Output(tooltip="The encoded prompt.")],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(prompts.load(folder_paths.get_full_path_or_raise(FOLDER, file)))

    @classmethod
    def fingerprint_inputs(cls, file: str) -> float:
        # the file may have been overwritten
        return os.path.getmtime(folder_paths.get_full_path_or_raise(FOLDER, file))
