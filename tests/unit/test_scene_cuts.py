"""Scene cuts found in drawn scenes."""

from fractions import Fraction
from importlib.metadata import PackageNotFoundError

import pytest
import torch

from scail_model.media import scene_cuts
from scail_model.media.clips import TensorClip

pytest.importorskip("scenedetect")


def scene(colour, frames, size=(48, 64)):
    """A disc that moves over a coloured ground."""
    y, x = torch.meshgrid(*(torch.arange(side) for side in size), indexing="ij")
    picture = torch.tensor(colour, dtype=torch.uint8).expand(frames, *size, 3).clone()
    for index in range(frames):
        disc = (y - 24) ** 2 + (x - 20 - index) ** 2 < 80
        picture[index][disc] = 255 - picture[index][disc]
    return picture


def test_a_cut_is_found_at_its_frame_and_at_no_other():
    joined = torch.cat((scene((200, 60, 40), 13), scene((20, 90, 160), 17), scene((90, 160, 30), 9)))
    assert scene_cuts.find_cuts(TensorClip(joined, Fraction(25))) == [13, 30]
    assert scene_cuts.find_cuts(TensorClip(joined)) == [13, 30]  # whatever the rate


def test_one_scene_has_no_cut():
    assert scene_cuts.find_cuts(TensorClip(scene((200, 60, 40), 25), Fraction(16))) == []
    assert scene_cuts.find_cuts(TensorClip(scene((200, 60, 40), 1), Fraction(16))) == []


def test_large_pictures_are_looked_at_in_small():
    large = torch.cat((scene((200, 60, 40), 8, (48, 700)), scene((20, 90, 160), 8, (48, 700))))
    assert scene_cuts.find_cuts(TensorClip(large, Fraction(25))) == [8]


def test_cuts_keep_five_frames_between_them():
    colours = ((200, 60, 40), (20, 90, 160))
    restless = torch.cat([scene((200, 60, 40), 12), *(scene(colours[index % 2], 2) for index in range(1, 8))])
    found = scene_cuts.find_cuts(TensorClip(restless, Fraction(25)))
    assert found[0] == 12
    assert all(after - before >= 5 for before, after in zip(found, found[1:], strict=False))


def test_looking_can_be_cancelled():
    def tick():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scene_cuts.find_cuts(TensorClip(scene((1, 2, 3), 5), Fraction(25), tick=tick))


def test_a_missing_library_is_named(monkeypatch):
    scene_cuts.check_installed()
    for installed in (None, "0.6.7"):
        monkeypatch.setattr(scene_cuts, "version", lambda name, found=installed: found or metadata_of_nothing(name))
        with pytest.raises(RuntimeError, match="install the Python package scenedetect 0.7 or later"):
            scene_cuts.check_installed()


def metadata_of_nothing(name):
    raise PackageNotFoundError(name)
