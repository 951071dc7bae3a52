"""Resizing: the official numbers (golden case C), the interpolation written out, dtypes, memory, error texts."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from scail_model.geometry import clip_pixels, cover_crop, half_size

GOLDEN = Path(__file__).parents[1] / "golden"
RESIZE = GOLDEN / "C1_resize_crop.safetensors"


def golden_tags(kind):
    with safe_open(RESIZE, "pt") as file:
        return [case["tag"] for case in json.loads(file.metadata()["info"]) if case["kind"] == kind]


@pytest.fixture(scope="module")
def golden():
    return load_file(RESIZE)


def random_video(frames, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (frames, 3, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("tag", golden_tags("video"))
def test_video_resize_is_the_official_one(golden, tag):
    expected = golden[f"{tag}.out_uint8"]
    assert torch.equal(cover_crop(golden[f"{tag}.input_uint8"], *expected.shape[2:]), expected)


@pytest.mark.parametrize("tag", golden_tags("image"))
def test_image_resize_is_the_official_one(golden, tag):
    expected = golden[f"{tag}.out_float32"]
    resized = cover_crop(golden[f"{tag}.input_uint8"] / 255 * 2 - 1, *expected.shape[2:])
    torch.testing.assert_close(resized, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tag", golden_tags("video"))
def test_half_size_is_the_official_one(golden, tag):
    frames, expected = golden[f"{tag}.out_uint8"], golden[f"{tag}.half_pose_float32"]
    torch.testing.assert_close(half_size((frames.float() - 127.5) / 127.5), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close((half_size(frames) - 127.5) / 127.5, expected, rtol=0, atol=1e-5)


def cubic_weights(source, target):
    """[target,source] float64: bicubic with antialiasing, a = -0.5, stretched by the scale when shrinking."""
    scale = source / target
    stretch = max(scale, 1)
    centres = (torch.arange(target, dtype=torch.float64) + 0.5) * scale
    distance = ((torch.arange(source, dtype=torch.float64) + 0.5 - centres[:, None]) / stretch).abs()
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    return weights / weights.sum(1, keepdim=True)


# source, target, the size in between, and where the crop begins: worked out by hand from the rule
@pytest.mark.parametrize(
    ("source", "target", "between", "corner"),
    [
        ((27, 40), (16, 16), (16, 23), (0, 3)),  # wide source: 40 * 16 / 27 = 23.7, 7 / 2 = 3.5
        ((40, 27), (16, 16), (23, 16), (3, 0)),
        ((10, 17), (32, 32), (32, 54), (0, 11)),  # enlarging
        ((20, 20), (16, 32), (32, 32), (8, 0)),  # portrait and landscape are never swapped
        ((20, 30), (30, 20), (30, 45), (0, 12)),
    ],
)
def test_equals_the_interpolation_written_out(source, target, between, corner):
    frames = random_video(2, *source)
    rows, columns = cubic_weights(source[0], between[0]), cubic_weights(source[1], between[1])
    whole = rows @ frames.double() @ columns.T  # [2,3,*between]
    expected = whole[:, :, corner[0] : corner[0] + target[0], corner[1] : corner[1] + target[1]]
    torch.testing.assert_close(cover_crop(frames.double(), *target), expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(cover_crop(frames.float(), *target), expected.float(), rtol=0, atol=2e-3)
    rounded = cover_crop(frames, *target)
    assert rounded.dtype == torch.uint8
    assert (rounded.double() - expected.clamp(0, 255)).abs().max() < 0.502


def test_floats_overshoot_and_bytes_are_clamped():
    edge = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    edge[..., 4:] = 255
    enlarged = cover_crop(edge.float(), 16, 16)
    assert enlarged.max() > 260
    assert enlarged.min() < -5
    assert torch.equal(cover_crop(edge, 16, 16), enlarged.round().clamp(0, 255).to(torch.uint8))


def test_halves_are_rounded_to_even(monkeypatch):
    halves = torch.tensor([0.5, 1.5, 2.5, 253.5, 254.5, -3.0, 300.0, 7.0]).expand(1, 3, 8, 8)
    monkeypatch.setattr("scail_model.geometry.F.interpolate", lambda *args, **kwargs: halves)
    row = cover_crop(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), 8, 8)[0, 0, 0]
    assert row.tolist() == [0, 2, 2, 254, 254, 0, 255, 7]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept(dtype):
    frames = random_video(2, 20, 30).to(dtype)
    resized = cover_crop(frames, 16, 16)
    assert resized.dtype == dtype
    through_float32 = cover_crop(frames.float(), 16, 16)
    if dtype in (torch.float16, torch.bfloat16):
        assert torch.equal(resized, through_float32.to(dtype))  # rounded once, at the end
    halved = half_size(frames)
    assert halved.dtype == (torch.float32 if dtype == torch.uint8 else dtype)
    assert torch.equal(halved, half_size(frames.float()).to(halved.dtype))


def test_frames_that_fit_are_left_alone():
    frames = random_video(3, 16, 24)
    assert torch.equal(cover_crop(frames, 16, 24), frames)
    assert torch.equal(cover_crop(frames, 16, 10), frames[..., 7:17])
    floats = torch.rand(1, 3, 16, 24) * 3
    assert torch.equal(cover_crop(floats, 9, 24), floats[:, :, 3:12])


def test_frames_do_not_depend_on_each_other():
    frames = random_video(11, 21, 33)
    assert torch.equal(cover_crop(frames, 16, 16), torch.cat([cover_crop(frame[None], 16, 16) for frame in frames]))
    assert torch.equal(half_size(frames), torch.cat([half_size(frame[None]) for frame in frames]))


@pytest.mark.parametrize("size", [(8, 12), (9, 12), (8, 13), (9, 13), (2, 3)])
def test_half_size_is_the_mean_of_four(size):
    frames = random_video(2, *size)
    even = frames[:, :, : size[0] // 2 * 2, : size[1] // 2 * 2].float()
    expected = (even[:, :, ::2, ::2] + even[:, :, 1::2, ::2] + even[:, :, ::2, 1::2] + even[:, :, 1::2, 1::2]) / 4
    assert torch.equal(half_size(frames), expected)  # quarters of levels are exact in float32
    torch.testing.assert_close(half_size(frames / 255), expected / 255, rtol=0, atol=1e-6)


class LargestFloat(TorchDispatchMode):
    """Remembers the size of the largest float32 tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
            self.numel = max(self.numel, result.numel())
        return result


def test_a_long_video_is_not_copied_to_float():
    sizes = []
    for frames in (8, 64):
        with LargestFloat() as largest:
            cover_crop(torch.zeros(frames, 3, 32, 48, dtype=torch.uint8), 24, 24)
        sizes.append(largest.numel)
    assert sizes[0] == sizes[1] <= 4 * 3 * 32 * 48


def formula_image():
    colour, y, x = torch.meshgrid(torch.arange(3), torch.arange(300), torch.arange(260), indexing="ij")
    return ((37 * y + (11 + colour) * x + 5 * colour) % 64) / 32 - 1


@pytest.mark.parametrize("tag", ["clip_32x48", "clip_300x260"])
@pytest.mark.parametrize("batched", [False, True])
def test_clip_input_is_the_official_one(tag, batched):
    tensors = load_file(GOLDEN / "C3_clip_preprocess.safetensors")
    image = tensors.get(f"{tag}.input", formula_image())
    pixels = clip_pixels(image[None] if batched else image)
    assert pixels.shape == (1, 3, 224, 224)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels[:, :, ::8, ::8], tensors[f"{tag}.out_every8"], rtol=0, atol=1e-5)
    mean = pixels.double().mean((0, 2, 3))
    torch.testing.assert_close(mean, tensors[f"{tag}.out_channel_mean_f64"], rtol=0, atol=1e-6)


def test_clip_computes_half_precision_in_float32():
    image = formula_image().bfloat16()
    assert torch.equal(clip_pixels(image), clip_pixels(image.float()))


@pytest.mark.parametrize("resize", [lambda frames: cover_crop(frames, 8, 8), half_size])
@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.zeros(3, 8, 8), r"frames has shape \[3, 8, 8\], but it must be \[T,3,H,W\]: move the colours"),
        (torch.zeros(2, 8, 8, 3), r"frames has shape \[2, 8, 8, 3\]"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int32), "frames is torch.int32, but it must be uint8 or float"),
        (torch.zeros(0, 3, 8, 8), "frames holds 0 frames of 8x8 pixels, but it must hold at least one"),
        (torch.zeros(2, 3, 0, 8), "frames holds 2 frames of 0x8 pixels"),
    ],
)
def test_bad_frames_are_named(resize, frames, message):
    with pytest.raises(ValueError, match=message):
        resize(frames)


@pytest.mark.parametrize("size", [(0, 8), (8, 0), (-16, 8)])
def test_bad_targets_are_named(size):
    with pytest.raises(ValueError, match=f"the target size is {size[0]}x{size[1]} pixels, but each side needs"):
        cover_crop(torch.zeros(1, 3, 8, 8), *size)


def test_half_of_one_pixel_is_named():
    with pytest.raises(ValueError, match="frames holds 1 frames of 8x1 pixels.*2x2"):
        half_size(torch.zeros(1, 3, 8, 1))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(2, 3, 8, 8), r"the image has shape \[2, 3, 8, 8\], but it must be \[3,H,W\] or \[1,3,H,W\]"),
        (torch.zeros(8, 8), r"the image has shape \[8, 8\]"),
        (torch.zeros(8, 8, 3), r"image has shape \[1, 8, 8, 3\]"),
        (torch.zeros(3, 0, 8), "image holds 1 frames of 0x8 pixels"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"the image is torch.uint8, but it must be float in -1..1"),
    ],
)
def test_bad_clip_images_are_named(image, message):
    with pytest.raises(ValueError, match=message):
        clip_pixels(image)
