"""Identity masks: a colour video in, the 28 mask channels that the transformer reads out.

A mask video paints every person in one of six pure colours, and white wherever the result shows the surroundings of
that picture (SCAIL-2, arXiv 2606.10804: six identity slots and one environment switch). Packing turns each colour into
a map of zeros and ones, averages it over the cells of the latent grid, and stacks four frames into one latent frame, as
the video VAE does. Original: `wan/utils/scail_utils.py` of the official repository.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .levels import to_levels

# Colour of the first, second, ... identity, as RGB: blue, red, green, magenta, cyan, yellow.
PALETTE = ((0, 0, 255), (255, 0, 0), (0, 255, 0), (255, 0, 255), (0, 255, 255), (255, 255, 0))

# The same by name, and in label maps: 0 is black, 1..6 are the identities, 7 is white.
NAMES = ("blue", "red", "green", "magenta", "cyan", "yellow")
BLACK, WHITE = 0, 7
PEOPLE_LIMIT = len(PALETTE)
_COLOURS = torch.tensor(((0, 0, 0), *PALETTE, (255, 255, 255)), dtype=torch.uint8)  # [8, 3], by label

# red + 2 * green + 4 * blue of each channel: white, red, green, blue, yellow, magenta, cyan. Not the order of PALETTE.
CHANNEL_CODES = (7, 1, 2, 4, 3, 5, 6)

_LAST_OFF = 225  # a colour component is on strictly above this level of 0..255
_FLOAT_SLACK = 1e-6  # level / 255 and level * (1 / 255) differ in the last bit; 225 must stay off in both


def pack_mask(rgb: Tensor) -> Tensor:
    """Pack a colour mask at the size of the video, as for reference masks.

    rgb: [T,3,H,W], T = 4n+1, uint8, or float in 0..1 (bicubic overshoot is allowed). A float mask packs like
    its uint8 twin; float16 and bfloat16 cannot represent values between two levels, so they are rounded to levels
    first. Returns float32 [28,(T-1)/4+1,ceil(H/8),ceil(W/8)]: the covered share of each latent cell, 0..1, channel =
    7 * frame in group + colour. Source: golden case B, `out_full`.

    Raises ValueError for another shape or dtype, and for a frame count that is not 4n+1.
    """
    _check(rgb, smallest=1)
    return _pack(rgb, block=1)


def pack_driving_mask(rgb: Tensor) -> Tensor:
    """Pack the colour mask of a driving video, which the model sees at half the size of the video.

    As `pack_mask`, but every 2x2 block of pixels becomes its mean before the threshold, so a mixed edge changes colour
    or turns black. An odd last row or column is dropped, as in the official half-size interpolation. Returns float32
    [28,(T-1)/4+1,ceil((H//2)/8),ceil((W//2)/8)]. Source: golden case B, `out_driving`.

    Raises ValueError as `pack_mask` does, and for a side of one pixel.
    """
    _check(rgb, smallest=2)
    return _pack(rgb, block=2)


def halved(components: Tensor) -> Tensor:
    """Halve colour components and apply the threshold: uint8 [n,H,W] -> bool [n,H//2,W//2], true where on."""
    return _sum_of_four(components) > 4 * _LAST_OFF  # the mean of four, without a division that could round


def paint(labels: Tensor) -> Tensor:
    """Label map uint8 [T, H, W] -> colours uint8 [T, 3, H, W]."""
    return _COLOURS[labels.long()].movedim(-1, 1)


def given_name(label: int, name: str) -> str:
    """The name of a person with this palette index, 1..6, if somebody chose it; "" if it is that of the colour."""
    return "" if name == NAMES[label - 1] else name


def title(label: int, name: str) -> str:
    """What people read of a person: "blue", or "Anna (blue)" with a name of their own."""
    colour = NAMES[label - 1]
    return f"{name} ({colour})" if given_name(label, name) else colour


def people(labels: Tensor) -> Tensor:
    """Where a label map shows people, bool."""
    return (labels != BLACK) & (labels != WHITE)


def _check(rgb: Tensor, smallest: int) -> None:
    if rgb.ndim != 4 or rgb.shape[1] != 3:
        raise ValueError(f"the mask has shape {list(rgb.shape)}, but it must be [T,3,H,W]: move the colours to axis 1")
    if rgb.dtype != torch.uint8 and not rgb.is_floating_point():
        raise ValueError(f"the mask is {rgb.dtype}, but it must be uint8, or float in 0..1: convert it")
    frames, _, height, width = rgb.shape
    if frames % 4 != 1:
        below = max(frames - 1, 0) // 4 * 4 + 1
        raise ValueError(f"the mask has {frames} frames, but it needs 4n+1: cut or pad it to {below} or {below + 4}")
    if min(height, width) < smallest:
        raise ValueError(f"the mask is {height}x{width} pixels, but each side needs at least {smallest}: enlarge it")


def _pack(rgb: Tensor, block: int) -> Tensor:
    frames, _, height, width = rgb.shape
    cells = [-(-(side // block) // 8) for side in (height, width)]  # halved three times, rounded up each time
    codes = torch.tensor(CHANNEL_CODES, dtype=torch.uint8, device=rgb.device).view(7, 1, 1)
    packed = torch.empty(4, 7, (frames - 1) // 4 + 1, *cells, dtype=torch.float32, device=rgb.device)
    # One frame at a time: all channels of a clip in float32 are 28 times the size of the clip.
    for index, frame in enumerate(rgb):
        colours = _colour_codes(frame, block) == codes  # [7,H,W]
        shares = F.interpolate(colours.float()[None], cells, mode="area")[0]  # [7,H',W']
        if index == 0:
            packed[:, :, 0] = shares  # the first latent frame holds the first frame four times
        else:
            group, place = divmod(index - 1, 4)
            packed[place, :, group + 1] = shares
    return packed.flatten(0, 1)  # [4,7,T',H',W'] -> [28,T',H',W']


def _colour_codes(frame: Tensor, block: int) -> Tensor:
    """[3,H,W] -> [H/block,W/block] uint8, red + 2 * green + 4 * blue with each component on (1) or off (0)."""
    if frame.dtype in (torch.float16, torch.bfloat16):
        frame = to_levels(frame)
    last_off = _LAST_OFF if frame.dtype == torch.uint8 else _LAST_OFF / 255 + _FLOAT_SLACK
    if block == 1:
        on = frame > last_off
    else:
        on = halved(frame) if frame.dtype == torch.uint8 else _sum_of_four(frame) > 4 * last_off
    red, green, blue = on.to(torch.uint8)
    return red + 2 * green + 4 * blue


def _sum_of_four(frame: Tensor) -> Tensor:
    """[n,H,W] -> [n,H//2,W//2], the sum of every 2x2 block; an odd last row or column is dropped."""
    _, height, width = frame.shape
    even = frame[:, : height // 2 * 2, : width // 2 * 2]
    if frame.dtype == torch.uint8:
        even = even.to(torch.int16)
    rows = even[:, 0::2] + even[:, 1::2]
    return rows[:, :, 0::2] + rows[:, :, 1::2]
