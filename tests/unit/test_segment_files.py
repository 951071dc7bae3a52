"""Parts that are written beside the caller: they get their name when they are whole, fail aloud, and can be left."""

import threading
import time
from fractions import Fraction

import pytest
import torch

from scail_model.files.jobs import Job
from scail_model.media.clips import TensorClip
from scail_model.media.encoding import Encoding
from scail_model.media.workers import Cancelled, result
from scail_model.video.segment_files import SegmentFiles


def nothing():
    pass


@pytest.fixture
def files(tmp_path):
    made = SegmentFiles(Job(tmp_path / "job", {}), TensorClip(torch.zeros(1, 32, 32, 3)), Fraction(16),
                      Encoding("h265 10-bit", 0), nothing)
    yield made
    made.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scail2")]


def test_a_part_is_there_when_its_writing_is_done(files):
    result(files.begin("0001-a.mp4", torch.rand(3, 32, 64, 3)), nothing)
    assert files.has("0001-a.mp4", 3)


def test_what_goes_wrong_is_raised_when_it_is_waited_for(files):
    files.job.path("0001-a.mp4").mkdir()
    with pytest.raises(RuntimeError, match=r"The job folder .* cannot be written"):
        result(files.begin("0001-a.mp4", torch.rand(3, 32, 64, 3)), nothing)
    assert [path.name for path in files.job.folder.iterdir()] == ["0001-a.mp4"]


def test_stopped_in_the_middle_nothing_is_left(files):
    writing = files.begin("0001-a.mp4", torch.rand(160, 256, 448, 3))
    time.sleep(0.5)
    started = time.monotonic()
    files.stop()
    assert time.monotonic() - started < 1
    with pytest.raises(Cancelled):
        writing.result()
    assert not list(files.job.folder.iterdir())
