"""What a log says of a run, of one segment at a time and of several."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scail_model.headless import terminal as terminal_module
from scail_model.headless.terminal import Terminal
from scail_model.segments import plan_scenes

PART = Path()


@pytest.fixture
def begun(monkeypatch):
    """A terminal in a video of four segments in three scenes, two steps each, that says everything."""
    monkeypatch.setattr(terminal_module, "_PAUSE", 0.0)
    with Terminal() as terminal:
        task: Any = SimpleNamespace(plan=plan_scenes(31, (9, 22), 9, 5), settings=SimpleNamespace(steps=2))
        terminal.begin(task, PART)
        yield terminal


def last(capsys) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_one_segment_after_the_other(begun, capsys):
    begun.stage(0, "encoding")
    assert last(capsys) == "segment 1 of 4, encoding"
    begun.say("loading the VAE")
    assert last(capsys) == "segment 1 of 4, encoding, loading the VAE"
    begun.step(0, 0, torch.zeros(1))
    assert last(capsys).startswith("segment 1 of 4, step 1 of 2, about ")
    begun.stage(0, "writing")
    begun.stage(1, "encoding")
    assert last(capsys).startswith("segment 2 of 4, encoding, about ")
    begun.finished(0, PART, kept=False)
    assert last(capsys) == "segment 1 of 4 is written"


def test_segments_of_several_lanes_stand_beside_each_other(begun, capsys):
    begun.at_once({"GPU 1": [0, 3], "GPU 2": [1, 2]})
    assert last(capsys) == "scenes at the same time: segments 1, 4 on GPU 1; segments 2 to 3 on GPU 2"
    begun.placed(0, "GPU 1")
    begun.placed(1, "GPU 2")
    begun.stage(1, "encoding")
    begun.stage(0, "encoding")
    assert last(capsys) == "segment 1 of 4 on GPU 1, encoding; segment 2 of 4 on GPU 2, encoding"
    begun.step(1, 1, torch.zeros(1))
    begun.stage(1, "writing")
    begun.placed(2, "2 GPUs")
    begun.stage(2, "encoding")
    assert last(capsys).startswith("segment 1 of 4 on GPU 1, encoding; segment 3 of 4 on 2 GPUs, encoding, about ")
