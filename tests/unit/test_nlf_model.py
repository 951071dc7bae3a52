"""NLF's torchscript file, as a tiny one with the same method: who is detected where, in which pictures."""

import sys
import types

import pytest
import torch
from drawn_bodies import SIZE, box_masks

from scail_model.identity.mask_sources import from_masks
from scail_model.media.clips import TensorClip
from scail_model.poses.nlf_model import detect, load_nlf
from scail_model.poses.reading import read_poses


class Brightest(torch.nn.Module):
    """Finds a body for each bright column of a picture, from the left; all its joints are 3 m away at that column. It
    takes no more than `most` pictures at once, as a small card does."""

    def __init__(self, most: int = 1000):
        super().__init__()
        self.most = most

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images

    @torch.jit.export
    def detect_smpl_batched(self, images: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        assert images.dtype == torch.uint8
        if images.shape[0] > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")
        found: list[torch.Tensor] = []
        greens: list[torch.Tensor] = []
        focal = 160 / (2 * 0.5205670505517458)
        for image in images:
            columns = torch.nonzero(image[0, 0] > 200)[:, 0].float()
            joints = torch.zeros(columns.shape[0], 24, 3)
            joints[:, :, 0] = ((columns - 48) / focal * 3000)[:, None]
            joints[:, :, 1] = torch.arange(24) * 50.0 - 600
            joints[:, :, 2] = 3000
            found.append(joints)
            greens.append(image[:, -1, 0])
        return {"joints3d_nonparam": found, "boxes": greens}


@pytest.fixture(autouse=True)
def torchvision(monkeypatch):
    """The tiny file needs none of its operators."""
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))


def saved(tmp_path, module):
    path = tmp_path / "nlf.torchscript"
    torch.jit.script(module).save(str(path))
    return path


def clip_of(*frames):
    """Frames with bright columns."""
    images = torch.zeros(len(frames), *SIZE, 3, dtype=torch.uint8)
    for image, columns in zip(images, frames, strict=True):
        image[:, list(columns)] = 255
    return TensorClip(images)


def columns(bodies):
    """By frame, where each body is."""
    focal, _, centre, _ = bodies.camera
    return [[round(float(x / z * focal + centre), 2) if z else None for x, _, z in joints[:, 1]]
            for joints in bodies.frames]


def test_without_masks_everybody_is_found(tmp_path):
    bodies = detect(load_nlf(saved(tmp_path, Brightest())), clip_of((20, 70), (), (30,)))
    assert columns(bodies) == [[20, 70], [], [30]]


def test_with_masks_each_person_is_detected_alone(tmp_path):
    """The first detection in the person's own mask counts; whoever is hidden or not found is not there."""
    masks = from_masks(box_masks([(60, 80), None, (60, 80)], [(10, 30)] * 3), "driving")
    bodies = detect(load_nlf(saved(tmp_path, Brightest())), clip_of((20, 65, 70), (20, 70), (5,)), masks)
    assert columns(bodies) == [[65, 20], [None, 20], [None, None]]
    poses = read_poses(bodies, masks=masks)
    assert (poses.joints[:, :, 1, 2] > 0).tolist() == [[True, True], [False, True], [False, False]]


def test_outside_of_the_mask_is_the_official_green(tmp_path):
    seen = []

    class Noting:
        def to(self, device):
            return self

        def detect_smpl_batched(self, images):
            seen.append(images)
            return {"joints3d_nonparam": [torch.zeros(0, 24, 3)] * len(images)}

    detect(Noting(), clip_of((20,), (20,)), from_masks(box_masks([(10, 30)] * 2), "driving"))
    (images,) = seen
    assert images.dtype == torch.uint8
    assert images.shape == (2, 3, *SIZE)
    assert images[0, :, 0, 0].tolist() == [0, 100, 0]
    assert images[0, :, 0, 20].tolist() == [255, 255, 255]
    assert images[0, :, 0, 15].tolist() == [0, 0, 0]


def test_a_small_card_takes_fewer_frames_at_once(tmp_path):
    told = []
    clip = clip_of(*([column] for column in range(20, 40)))
    bodies = detect(load_nlf(saved(tmp_path, Brightest(most=3))), clip, told=told.append)
    assert columns(bodies) == [[column] for column in range(20, 40)]
    assert told[-1] == 20
    with pytest.raises(RuntimeError, match="NLF runs out of memory with a single frame of 96x160"):
        detect(load_nlf(saved(tmp_path, Brightest(most=0))), clip)


def test_masks_of_another_size_are_scaled(tmp_path):
    masks = from_masks([torch.nn.functional.interpolate(mask[None], scale_factor=2)[0]
                        for mask in box_masks([(10, 30)])], "driving")
    assert columns(detect(load_nlf(saved(tmp_path, Brightest())), clip_of((20, 70)), masks)) == [[20]]


@pytest.mark.parametrize(("masks", "message"), [
    (box_masks([(10, 30)] * 2), "has 1 frames, but the masks have 2"),
    ([torch.ones(1, 100, 100)], r"masks \(100x100 pixels\) and the driving video \(96x160\) have different shapes")])
def test_masks_of_another_video_are_refused(tmp_path, masks, message):
    with pytest.raises(ValueError, match=message):
        detect(load_nlf(saved(tmp_path, Brightest())), clip_of((20,)), from_masks(masks, "driving"))


def test_another_file_is_refused(tmp_path):
    class Plain(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images

    with pytest.raises(RuntimeError, match=r"nlf.torchscript is a torchscript file, but it has no detect_smpl_batched"):
        load_nlf(saved(tmp_path, Plain()))
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(RuntimeError, match=r"model.safetensors cannot be loaded as a torchscript file"):
        load_nlf(path)


class Other:
    """A model of another version, with the same method."""

    def to(self, device):
        return self

    def detect_smpl_batched(self, images):
        return {"joints3d": [torch.zeros(0, 24, 3) for _ in images]}


def test_another_answer_is_named():
    with pytest.raises(RuntimeError, match="The NLF model answers joints3d, but no joints3d_nonparam: use NLF's file"):
        detect(Other(), TensorClip(torch.zeros(2, *SIZE, 3)))


def test_a_patched_torch_jit_is_refused(tmp_path, monkeypatch):
    path, own = saved(tmp_path, Brightest()), torch.jit.script
    monkeypatch.setattr(torch.jit, "script", lambda *given, **named: own(*given, **named))
    with pytest.raises(RuntimeError, match=r"torch.jit.script was replaced by another pack \(.*test_nlf_model.py\)"):
        load_nlf(path)


def test_missing_torchvision_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(RuntimeError, match="NLF needs torchvision"):
        load_nlf(saved(tmp_path, Brightest()))
