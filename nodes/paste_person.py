"""Paste SCAIL-2 Person: a person who was made large, back where they were filmed."""

from __future__ import annotations

import os
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import folder_paths
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy_api.latest import InputImpl, io, ui

from ..scail_model.comfy.emitted_videos import emitted
from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY, CropType, as_clip, option_inputs
from ..scail_model.files.user_files import numbered, write_numbered
from ..scail_model.media.encoding import CODECS, Encoding, check_encoder
from ..scail_model.plate.choice import FEATHER, GROW, MEASURED
from ..scail_model.plate.edge import Edge
from ..scail_model.plate.pasting import paste, result_rate
from ..scail_model.plate.person_crop import PersonCrop
from ..scail_model.plate.plate import check_even
from ..scail_model.plate.rim import colour_offsets
from ..scail_model.video.draft import draft_size

_FILE = "scail2_paste/person"
_ASSUMED_RATE = Fraction(16)


class SCAIL2PastePerson(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2PastePerson",
            display_name="Paste SCAIL-2 Person",
            category=CATEGORY,
            description="Puts what was made of a cropped person back into the video that it was cropped from, at that "
                        "video's own size, rate and sound. Outside of the person every pixel stays as it was.",
            search_aliases=["stitch", "composite", "face composite back", "uncrop", "inpaint stitch"],
            is_output_node=True,
            inputs=[
                io.MultiType.Input("video", [io.Image, io.Video],
                                   tooltip="What was made of the crop, from Sample SCAIL-2 Video."),
                CropType.Input("crop", tooltip="From Crop SCAIL-2 Person."),
                io.MultiType.Input("plate", [io.Image, io.Video], optional=True,
                                   tooltip="Where the person goes, if not into the video that was cropped: the result "
                                           "of another Paste SCAIL-2 Person, so that several people go one by one."),
                io.Int.Input("grow", default=GROW, min=0, max=256, optional=True,
                             tooltip="How far beyond the person's outline the made picture reaches, in pixels of the "
                                     "made video."),
                io.Int.Input("feather", default=FEATHER, min=0, max=256, optional=True,
                             tooltip="Over how many more of these pixels the made picture fades into the plate."),
                io.Boolean.Input("match_colours", default=False, optional=True,
                                 tooltip="Shift the made picture's colours by what it differs from the plate in the "
                                         "soft edge, steadily over time and by 13 levels of 255 at most."),
                *option_inputs("codec", "quality"),
                *option_inputs("plate_person"),
                io.String.Input("filename_prefix", default=_FILE, optional=True, advanced=True,
                                tooltip="File name in ComfyUI's output folder."),
            ],
            outputs=[
                io.Video.Output(tooltip="The whole video, a file in the output folder."),
                io.String.Output("report", tooltip="What was put where, and the file."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("pasting the person")
    def execute(cls, video, crop: PersonCrop, plate=None, grow: int = GROW, feather: int = FEATHER,
                match_colours: bool = False, codec: str = next(iter(CODECS)), quality: int = 14,
                plate_person: str = MEASURED, filename_prefix: str = _FILE) -> io.NodeOutput:
        check_encoder(codec)
        tick, encoding = throw_exception_if_processing_interrupted, Encoding(codec, quality)
        made = as_clip(video, "made video", cls.hidden.unique_id)
        height, width = crop.window.size
        across, down = draft_size(width, height)
        whole = crop.plate(made, Edge(grow, feather), None if plate is None else as_clip(plate, "plate"),
                           measured=plate_person == MEASURED, draft=(down, across))
        if not encoding.lossless:
            check_even(whole.size)
        rate = result_rate(whole, made) or _ASSUMED_RATE
        offsets = colour_offsets(whole, made, rate, crop.cuts_in(made), tick) if match_colours else None
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), whole.clip.width, whole.clip.height)
        with TemporaryDirectory(dir=folder, prefix=".paste-") as own:
            pasted = Path(own, "whole.mp4")
            facts = paste(whole, made, pasted, rate, encoding, tick, offsets, "SCAIL-2, pasted")
            target = write_numbered(partial(os.replace, pasted), numbered(Path(folder), name, counter, ".mp4"))
        emitted.add(target)
        height, width = whole.size
        lines = [f"{crop.title}: {len(made)} frames of {made.width}x{made.height} in {width}x{height} at "
                 f"{float(rate):g} a second", *facts]
        if offsets is not None:
            most = abs(offsets).max() * 255
            lines.append(f"colours shifted by at most {most:.1f} levels of 255")
        lines.append(f"file: {target}")
        shown = ui.PreviewVideo([ui.SavedResult(target.name, subfolder, io.FolderType.output)])
        return io.NodeOutput(InputImpl.VideoFromFile(str(target)), "\n".join(lines),
                             ui=shown.as_dict() | {"text": ["\n".join(lines)]})

    @classmethod
    def fingerprint_inputs(cls, **_) -> int:
        return emitted.lost()
