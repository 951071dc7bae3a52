"""The engine: from checked inputs to a finished video, the same in ComfyUI and on the command line."""

from ..media.video_file import open_clip

__all__ = ["open_clip"]
