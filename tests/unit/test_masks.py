"""Mask packing: the official numbers (golden case B), a slow plain loop, float twins, memory, error texts."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from scail_model.masks import PALETTE, pack_driving_mask, pack_mask

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = {name: load_file(GOLDEN / f"{name}.safetensors") for name in ("B1_mask_regular", "B2_mask_odd")}
COLOURS = ("white", "red", "green", "blue", "yellow", "magenta", "cyan")
LATTICE = torch.tensor([0, 1, 127, 224, 225, 226, 227, 255], dtype=torch.uint8)


def golden_cases(output):
    """(tensors of the file, tag) of every case that has this output."""
    return [
        pytest.param(tensors, key.removesuffix(f".{output}"), id=key.removesuffix(f".{output}"))
        for tensors in FILES.values()
        for key in tensors
        if key.endswith(f".{output}")
    ]


def video_of(tensors, tag):
    if f"{tag}.video" in tensors:
        return tensors[f"{tag}.video"]
    return tensors[f"{tag}.palette"][tensors[f"{tag}.index"].long()].permute(0, 3, 1, 2)


def random_mask(frames, height, width, seed=0):
    """Levels around the threshold, so that a wrong comparison cannot hide."""
    generator = torch.Generator().manual_seed(seed)
    return LATTICE[torch.randint(len(LATTICE), (frames, 3, height, width), generator=generator)]


def twins(mask):
    levels = mask.double()
    return {
        "float32 division": mask / 255,
        "float32 product": mask.float() * (1 / 255),
        "float64 division": levels / 255,
        "float64 product": levels * (1 / 255),
        "image norm and back": (mask / 255 * 2 - 1) * 0.5 + 0.5,
        "video norm and back": (mask.float() - 127.5) / 127.5 * 0.5 + 0.5,
        "float16": (mask / 255).half(),
        "bfloat16": (mask / 255).bfloat16(),
    }


@pytest.mark.parametrize(("tensors", "tag"), golden_cases("out_full"))
def test_packs_as_the_official_code(tensors, tag):
    video = video_of(tensors, tag)
    for pack, output, divisor in ((pack_mask, "out_full", 8), (pack_driving_mask, "out_driving", 16)):
        regular = video.shape[2] % divisor == 0 and video.shape[3] % divisor == 0
        packed = pack(video)
        assert packed.dtype == torch.float32
        torch.testing.assert_close(packed, tensors[f"{tag}.{output}"].float(), rtol=0, atol=0 if regular else 1e-6)


@pytest.mark.parametrize(("tensors", "tag"), golden_cases("out_full_imagenorm"))
def test_float_images_pack_as_the_official_code(tensors, tag):
    packed = pack_mask(video_of(tensors, tag) / 255)
    torch.testing.assert_close(packed, tensors[f"{tag}.out_full_imagenorm"].float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["uint8", *twins(LATTICE)])
def test_threshold_of_every_level(kind):
    table = load_file(GOLDEN / "B0_threshold_table.safetensors")["on_video_norm"].float()
    levels = torch.arange(256, dtype=torch.uint8)
    strip = levels.repeat_interleave(16).expand(1, 3, 16, 256 * 16)  # one grey square of 16x16 per level
    strip = strip if kind == "uint8" else twins(strip)[kind]
    assert torch.equal(pack_mask(strip)[0, 0, 0, ::2], table)
    assert torch.equal(pack_driving_mask(strip)[0, 0, 0], table)
    assert table.sum() == 30  # 226..255


@pytest.mark.parametrize("kind", twins(LATTICE))
@pytest.mark.parametrize("size", [(32, 48), (37, 27)])
def test_float_twin_packs_alike(kind, size):
    mask = random_mask(5, *size)
    twin = twins(mask)[kind]
    assert torch.equal(pack_mask(twin), pack_mask(mask))
    assert torch.equal(pack_driving_mask(twin), pack_driving_mask(mask))


@pytest.mark.parametrize("kind", twins(LATTICE))
def test_driving_mean_just_at_the_threshold(kind):
    # Blocks that add up to 898..902: their float mean is within a few ulp of 225 where it matters most.
    blocks = torch.tensor([[225, 225, 225, 225], [255, 255, 255, 135], [226, 225, 225, 225], [255, 255, 255, 136],
                           [224, 225, 225, 224], [255, 255, 195, 195], [255, 255, 196, 195]])  # fmt: skip
    mask = blocks.to(torch.uint8).view(1, 1, 7, 2, 2).permute(0, 1, 3, 2, 4).reshape(1, 1, 2, 14)
    mask = mask.repeat_interleave(8, 3).view(1, 1, 2, 7, 2, 8)  # spread over 8 columns of blocks each
    mask = mask.transpose(4, 5).reshape(1, 1, 2, 112).repeat(1, 3, 8, 1)
    expected = torch.tensor([0.0, 0, 1, 1, 0, 0, 1])
    assert torch.equal(pack_driving_mask(mask)[0, 0, 0], expected)
    assert torch.equal(pack_driving_mask(twins(mask)[kind])[0, 0, 0], expected)


def test_values_between_two_levels_are_judged_exactly():
    assert pack_mask(torch.full((1, 3, 8, 8), 225.2 / 255))[0].item() == 1
    assert pack_mask(torch.full((1, 3, 8, 8), 224.9 / 255))[0].item() == 0
    assert pack_mask(torch.full((1, 3, 8, 8), 1.07))[0].item() == 1  # bicubic overshoot
    assert pack_mask(torch.full((1, 3, 8, 8), 1.07, dtype=torch.float16))[0].item() == 1
    assert pack_mask(torch.full((1, 3, 8, 8), -0.07)).abs().max() == 0
    assert pack_mask(torch.full((1, 3, 8, 8), -0.07, dtype=torch.float16)).abs().max() == 0


def slow_planes(frame):
    """Seven planes of one frame [3,H,W] as nested lists, from the words for the colours."""
    names = {(1, 1, 1): "white", (1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue",
             (1, 1, 0): "yellow", (1, 0, 1): "magenta", (0, 1, 1): "cyan"}  # fmt: skip
    _, height, width = frame.shape
    found = [[names.get(tuple(int(v > 225) for v in frame[:, y, x].tolist())) for x in range(width)]
             for y in range(height)]  # fmt: skip
    return {colour: [[float(cell == colour) for cell in row] for row in found] for colour in COLOURS}


def slow_share(plane, y, x, cells):
    """Mean of a plane over cell (y, x): cell i of n covers floor(i * size / n) to ceil((i + 1) * size / n)."""
    rows, columns = len(plane), len(plane[0])
    top, bottom = y * rows // cells[0], -(-(y + 1) * rows // cells[0])
    left, right = x * columns // cells[1], -(-(x + 1) * columns // cells[1])
    values = [value for row in plane[top:bottom] for value in row[left:right]]
    return sum(values) / len(values)


@pytest.mark.parametrize("size", [(16, 24), (19, 13)])
def test_equals_a_slow_loop(size):
    mask = random_mask(5, *size, seed=3)
    packed = pack_mask(mask)
    cells = [-(-side // 8) for side in size]
    assert packed.shape == (28, 2, *cells)
    for latent_frame, frames in enumerate([(0, 0, 0, 0), (1, 2, 3, 4)]):
        for place, frame in enumerate(frames):
            planes = slow_planes(mask[frame])
            for number, colour in enumerate(COLOURS):
                expected = [[slow_share(planes[colour], y, x, cells) for x in range(cells[1])] for y in range(cells[0])]
                found = packed[7 * place + number, latent_frame]
                torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-6)


def test_driving_mask_is_the_mask_of_the_halved_video():
    mask = random_mask(5, 38, 29, seed=5)
    levels = mask[:, :, :38, :28].double()
    mean = (levels[:, :, ::2, ::2] + levels[:, :, 1::2, ::2] + levels[:, :, ::2, 1::2] + levels[:, :, 1::2, 1::2]) / 4
    assert torch.equal(pack_driving_mask(mask), pack_mask(mean / 255))


def test_palette_fills_its_own_planes():
    order = ("blue", "red", "green", "magenta", "cyan", "yellow")
    for colour, rgb in zip(order, PALETTE, strict=True):
        packed = pack_mask(torch.tensor(rgb, dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8))
        on = packed.flatten().nonzero().flatten().tolist()
        assert on == [7 * place + COLOURS.index(colour) for place in range(4)]


class LargestTensor(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operation makes."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor) and not function.is_view:
                self.bytes = max(self.bytes, tensor.numel() * tensor.element_size())
        return result


@pytest.mark.parametrize("pack", [pack_mask, pack_driving_mask])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16])
def test_memory_does_not_grow_with_the_clip(pack, dtype):
    mask = torch.zeros(41, 3, 64, 64, dtype=dtype)
    with LargestTensor() as largest:
        packed = pack(mask)
    planes_of_one_frame = 7 * 64 * 64 * 4
    assert largest.bytes <= max(planes_of_one_frame, packed.numel() * 4)


@pytest.mark.parametrize("pack", [pack_mask, pack_driving_mask])
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(3, 8, 8), r"the mask has shape \[3, 8, 8\], but it must be \[T,3,H,W\]: move the colours"),
        (torch.zeros(1, 8, 8, 3), r"shape \[1, 8, 8, 3\]"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "the mask is torch.int64, but it must be uint8, or float"),
        (torch.zeros(80, 3, 8, 8), r"the mask has 80 frames, but it needs 4n\+1: cut or pad it to 77 or 81"),
        (torch.zeros(4, 3, 8, 8), "4 frames.*to 1 or 5"),
        (torch.zeros(0, 3, 8, 8), "0 frames.*to 1 or 5"),
        (torch.zeros(1, 3, 0, 8), "the mask is 0x8 pixels, but each side needs at least"),
    ],
)
def test_bad_masks_are_named(pack, mask, message):
    with pytest.raises(ValueError, match=message):
        pack(mask)


def test_driving_mask_of_one_row_is_named():
    with pytest.raises(ValueError, match="1x8 pixels, but each side needs at least 2"):
        pack_driving_mask(torch.zeros(1, 3, 1, 8))
