"""One run of Sample SCAIL-2 Video: its report, its job folder, and what the network was given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from comfyui import ComfyUI
from graphs import Graph, add_sample_video, load
from recordings import recorded
from safetensors.torch import load_file
from torch import Tensor


@dataclass(frozen=True)
class Sampled:
    """calls: of the network, if they were recorded."""

    report: str
    folder: Path
    calls: list[dict[str, Tensor]]

    def path(self, segment: int, ending: str) -> Path:
        """The only file of a segment (from 1) with an ending."""
        (path,) = self.folder.glob(f"{segment:04}-*.{ending}")
        return path

    def latent(self, segment: int) -> Tensor:
        return load_file(self.path(segment, "latent.safetensors"))["samples"]

    def end(self, segment: int) -> Tensor:
        """The frames that the next segment starts from."""
        return load_file(self.path(segment, "end.safetensors"))["frames"]

    @property
    def video(self) -> Path:
        """The newest finished video."""
        return max(self.folder.glob("video-*.mp4"), key=lambda path: path.stat().st_mtime_ns)

    @property
    def kept(self) -> int:
        """Segments that were found finished."""
        found = re.search(r"(\d+) of them already finished", self.report)
        return int(found[1]) if found else 0


def sample(comfy: ComfyUI, graph: Graph, record: Path | None = None, **options) -> Sampled:
    """Run a graph that has the inputs. record: an empty folder for the calls."""
    model = load(graph)
    if record:
        model = graph.add("recorded", "TestRecord", model=model, folder=str(record))
    add_sample_video(graph, model, **options)
    graph.add("report", "PreviewAny", source=["sampled", 1])
    return sampled(comfy.run(graph)["report"]["text"][0], record)


def sampled(report: str, record: Path | None = None) -> Sampled:
    """What a run with this report has left."""
    return Sampled(report, Path(re.search("job folder: (.*)", report)[1]), recorded(record) if record else [])
