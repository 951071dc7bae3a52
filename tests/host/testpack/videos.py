"""VIDEO objects of the shape that newer versions of ComfyUI give, and what the pack reads of a VIDEO."""

import importlib
import sys
from fractions import Fraction

import torch
from comfy_api.latest import InputImpl, io
from safetensors.torch import save_file


def pack(module):
    """A module of the pack that is loaded here, by its name below `scail_model`."""
    (root,) = (name.removesuffix(".video.options") for name in sys.modules if name.endswith(".video.options"))
    return importlib.import_module(f"{root}.{module}")


class VideoFromFile(InputImpl.VideoFromFile):
    """With a crop, under the private name that it has there."""

    def __init__(self, file, *, start_time=0, duration=0, crop=None):
        super().__init__(file, start_time=start_time, duration=duration)
        self.__crop = crop

    def has_pending_frame_edits(self):
        return self.__crop is not None

    def get_dimensions(self):
        return self.__crop[2:] if self.__crop else super().get_dimensions()

    def get_components(self):
        raise AssertionError("the whole video would be in memory")


class EditedVideo(InputImpl.VideoFromFile):
    """With edits under a name that nobody knows: every pixel is halved, and the right half is gone. most: frames that
    may be in memory; kept: whether a trimmed one has the edits too."""

    def __init__(self, file, most, kept=True, **window):
        super().__init__(file, **window)
        self.file, self.most, self.kept = file, most, kept

    def has_pending_frame_edits(self):
        return True

    def get_components(self):
        found = super().get_components()
        assert len(found.images) <= self.most, len(found.images)
        found.images = found.images[:, :, : found.images.shape[2] // 2] / 2
        return found

    def as_trimmed(self, start_time=0, duration=0, strict_duration=True):
        before, _ = self.get_active_trim_window()
        window = {"start_time": before + start_time, "duration": duration}
        if self.kept:
            return EditedVideo(self.file, self.most, **window)
        return InputImpl.VideoFromFile(self.file, **window)


class VideoFromList:
    """Of ConcatenateVideo."""

    def __init__(self, videos, complete_audio=None):
        self.videos, self.complete_audio = videos, complete_audio

    def get_components(self):
        raise AssertionError("the whole video would be in memory")


def _video(kind, files):
    first = files[0]
    return {
        "plain": lambda: InputImpl.VideoFromFile(first),
        "trimmed": lambda: InputImpl.VideoFromFile(first, start_time=0.2, duration=0.4),
        "trimmed at the end": lambda: InputImpl.VideoFromFile(first, start_time=-0.2),
        "not cropped": lambda: VideoFromFile(first),
        "cropped": lambda: VideoFromFile(first, crop=(8, 4, 32, 40)),
        "cropped and trimmed": lambda: VideoFromFile(first, start_time=0.2, duration=0.4, crop=(8, 4, 32, 40)),
        "edited": lambda: EditedVideo(first, 16),
        "edited and trimmed": lambda: EditedVideo(first, 16, start_time=0.2),
        "edited, and trimmed without": lambda: EditedVideo(first, 100, kept=False),
        "of frames": lambda: InputImpl.VideoFromComponents(InputImpl.VideoFromFile(first).get_components()),
        "joined": lambda: VideoFromList([InputImpl.VideoFromFile(file) for file in files]),
        "joined, one cropped": lambda: VideoFromList(
            [VideoFromFile(first, crop=(8, 4, 32, 40)), VideoFromFile(files[1], crop=(0, 0, 32, 40))]),
        "joined with a sound": lambda: VideoFromList(
            [InputImpl.VideoFromFile(file) for file in files],
            {"waveform": torch.full((1, 1, 48000), 0.25), "sample_rate": 48000}),
    }[kind]()


class TestReadVideo(io.ComfyNode):
    """Reads a kind of VIDEO through the pack, into a file."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestReadVideo", category="test", is_output_node=True, not_idempotent=True,
                         inputs=[io.String.Input("kind"), io.String.Input("files"), io.String.Input("path")],
                         outputs=[])

    @classmethod
    def execute(cls, kind, files, path):
        clip = pack("comfy.schema").as_clip(_video(kind, files.split("|")))
        found = {"frames": torch.cat(list(clip.stretches(0, len(clip)))), "times": torch.from_numpy(clip.times()),
                 "one": clip.read(len(clip) - 1, len(clip))}
        seconds = Fraction(float(clip.times()[-1]))
        with clip.sound(seconds) as track:
            if track is not None:
                blocks = [torch.from_numpy(block.copy()) for block in track.blocks]
                found |= {"sound": torch.cat(blocks, 1), "sound_rate": torch.tensor(track.rate)}
        save_file({name: value.contiguous() for name, value in found.items()}, path,
                  {"rate": str(clip.rate), "variable": str(clip.variable), "digest": clip.digest()})
        return io.NodeOutput()
