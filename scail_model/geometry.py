"""Sizes of pictures and videos: cover and crop, half size, and CLIP's square input.

Originals: the preprocessing in `wan/scail.py` and `wan/utils/scail_utils.py` (resize that covers the target, centre
crop, half-size driving video) and in `wan/modules/clip.py` (CLIP input). The resize there is torchvision's, which is
torch's bicubic interpolation with antialiasing.
"""

from collections.abc import Callable
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

# Frames processed at a time, so that a long uint8 video is never in memory as float32; for large frames fewer, up to
# this many values, because the system allocates larger blocks anew each time, which can cost more than the resize.
_CHUNK, _LARGE = 4, 1 << 22

_FEWER = 0.9  # times as many masks as frames, or fewer, are rather of another rate
_SHAPE_TOLERANCE = 0.02  # a mask made at another size may differ by a pixel or two

CLIP_SIZE = 224
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def cover_crop(frames: Tensor, height: int, width: int) -> Tensor:
    """Scale frames until they cover height x width, then cut out the centre.

    frames: [T,3,h,w], uint8 or float, any range. Returns [T,3,height,width] in the same dtype. One side is scaled to
    the target exactly, the other keeps the aspect ratio, rounded down; the crop offset is rounded down too. uint8 is
    computed in float32, rounded half to even and clamped; floats keep the overshoot of bicubic at edges. Height and
    width are never swapped. Frames that already have the size are returned unchanged. Source: golden case C1.

    Raises ValueError for another shape, for no frames or pixels, and for a target below one pixel.
    """
    _check(frames, "frames", smallest=1)
    if height < 1 or width < 1:
        raise ValueError(f"the target size is {height}x{width} pixels, but each side needs at least 1: enlarge it")
    return _cover_crop(frames, height, width)


def cover_crop_masks(masks: Tensor, height: int, width: int) -> Tensor:
    """`cover_crop` for pictures without a colour axis: [n,h,w], uint8 or float -> [n,height,width]."""
    return _cover_crop(masks[:, None], height, width)[:, 0]


def cover_map(size: tuple[int, int], height: int, width: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where `cover_crop` puts the points of a picture of this size (height, width): (x, y) comes to lie at
    (x, y) times the first pair minus the second, in pixels."""
    scaled_height, scaled_width = _cover_size(*size, height, width)
    return ((scaled_width / size[1], scaled_height / size[0]),
            (float((scaled_width - width) // 2), float((scaled_height - height) // 2)))


def _cover_crop(frames: Tensor, height: int, width: int) -> Tensor:
    """[T,n,h,w] -> [T,n,height,width]."""
    scaled_height, scaled_width = _cover_size(frames.shape[2], frames.shape[3], height, width)
    top, left = (scaled_height - height) // 2, (scaled_width - width) // 2

    def crop(chunk: Tensor) -> Tensor:
        return chunk[:, :, top : top + height, left : left + width]

    if (scaled_height, scaled_width) == tuple(frames.shape[2:]):
        return crop(frames)

    def scale_and_crop(chunk: Tensor) -> Tensor:
        scaled = F.interpolate(
            _computable(chunk), (scaled_height, scaled_width), mode="bicubic", align_corners=False, antialias=True
        )
        scaled = crop(scaled)
        return scaled.round().clamp_(0, 255) if chunk.dtype == torch.uint8 else scaled

    return _by_chunks(scale_and_crop, frames, (height, width), frames.dtype)


def half_size(frames: Tensor) -> Tensor:
    """Halve height and width: every 2x2 block becomes its mean, which is bilinear interpolation by one half.

    frames: [T,3,H,W], uint8 or float. Returns [T,3,H//2,W//2] in the dtype of float frames; uint8 comes back as
    float32 in levels 0..255, because rounding the mean of four levels would lose two bits of the pose. An odd last row
    or column is dropped, as in the official interpolation. Source: golden case C1, `half_pose_float32`.

    Raises ValueError for another shape, for no frames, and for a side of less than two pixels.
    """
    _check(frames, "frames", smallest=2)
    dtype = torch.float32 if frames.dtype == torch.uint8 else frames.dtype

    def halve(chunk: Tensor) -> Tensor:
        return F.interpolate(_computable(chunk), scale_factor=0.5, mode="bilinear", align_corners=False)

    return _by_chunks(halve, frames, (frames.shape[2] // 2, frames.shape[3] // 2), dtype)


def clip_pixels(image: Tensor) -> Tensor:
    """Cropped reference picture -> CLIP's input: stretched to a square, normalised per colour.

    image: [3,H,W] or [1,3,H,W], float in -1..1. Returns [1,3,224,224] float32 in units of CLIP's own standard
    deviation. The stretch is bicubic without antialiasing, unlike `cover_crop`. Source: golden case C3.

    Raises ValueError for another shape, for no pixels, and for a dtype that is not float.
    """
    batch = image[None] if image.ndim == 3 else image
    if batch.ndim != 4 or batch.shape[0] != 1:
        raise ValueError(f"the image has shape {list(image.shape)}, but it must be [3,H,W] or [1,3,H,W]: pass one")
    _check(batch, "image", smallest=1)
    if not batch.is_floating_point():
        raise ValueError(f"the image is {image.dtype}, but it must be float in -1..1: divide by 127.5 and subtract 1")
    square = F.interpolate(batch.float(), (CLIP_SIZE, CLIP_SIZE), mode="bicubic", align_corners=False)
    mean, std = (square.new_tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (square * 0.5 + 0.5 - mean) / std


def size_of(picture: Tensor) -> tuple[int, int]:
    """(height, width) of [H, W] or [H, W, 3]."""
    return picture.shape[0], picture.shape[1]


def check_size(width: int, height: int) -> None:
    """Raise ValueError unless both are multiples of 32 pixels."""
    for name, value in (("width", width), ("height", height)):
        if value < 32 or value % 32:
            below, above = nearest_sides(value)
            raise ValueError(f"The {name} is {value} pixels, but SCAIL-2 needs a multiple of 32: use {below} or "
                             f"{above}.")


def nearest_sides(pixels: int) -> tuple[int, int]:
    """The widths or heights below and above one that is not a multiple of 32."""
    below = max(pixels // 32 * 32, 32)
    return below, below + 32


def check_frame_count(frames: int, masks: int, *, stored: int | None = None, trim: bool = False,
                      rate: Fraction | None = None, offer_rate: str = "set rate to {:.4g}") -> None:
    """Raise ValueError unless the driving video has one mask for each of its frames.

    stored: number of frames in its file, of which `frames` were picked, `rate` a second. trim: whether the door has
    length_mismatch. offer_rate: how masks of another rate are made to fit.
    """
    if frames == masks:
        return
    video, picked = (frames, "") if stored in (None, frames) else (stored, f" ({frames} at the result's rate)")
    longer, by = ("driving video", video - masks) if video > masks else ("mask", masks - video)
    last = "last frame" if by == 1 else f"last {by} frames"
    offer = f", or set length_mismatch to trim, which leaves out the {last} of the {longer}" if trim else ""
    if rate and masks < _FEWER * video:  # the end would go, and the rest would not fit in time
        offer = f", {offer_rate.format(float(masks * rate / frames))} if it has that many frames a second{offer}"
    raise ValueError(f"The driving video has {video} frames{picked}, but its mask has {masks}: use a mask made from "
                     f"the same video{offer}.")


def check_picture_count(pictures: int, masks: int) -> None:
    """Raise ValueError unless there is one mask for each reference picture."""
    if pictures != masks:
        raise ValueError(f"There are {pictures} reference pictures but {masks} reference masks: give each picture one "
                         "mask, in the same order.")


def same_shape(mask: tuple[int, int], picture: tuple[int, int]) -> bool:
    """Whether two sizes (height, width) have the same aspect ratio, within a pixel or two."""
    return aspect_distance(mask, picture) <= _SHAPE_TOLERANCE


def aspect_distance(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """How far apart the aspect ratios of two sizes (height, width) are, 0 for equal ones."""
    return abs(one[1] * other[0] / (one[0] * other[1]) - 1)


def check_shape(name: str, mask: tuple[int, int], of: str, picture: tuple[int, int]) -> None:
    """Raise ValueError if a mask and its picture, (height, width) each, differ in shape: both are cropped to the size
    of the result, and the mask would no longer fit the person."""
    if not same_shape(mask, picture):
        raise ValueError(f"The {name} ({mask[1]}x{mask[0]} pixels) and the {of} ({picture[1]}x{picture[0]}) have "
                         "different shapes: make the mask from the picture that it belongs to.")


def _check(frames: Tensor, name: str, smallest: int) -> None:
    if frames.ndim != 4 or frames.shape[1] != 3:
        raise ValueError(f"{name} has shape {list(frames.shape)}, but it must be [T,3,H,W]: move the colours to axis 1")
    if frames.dtype != torch.uint8 and not frames.is_floating_point():
        raise ValueError(f"{name} is {frames.dtype}, but it must be uint8 or float: convert it")
    count, _, height, width = frames.shape
    if count < 1 or min(height, width) < smallest:
        raise ValueError(
            f"{name} holds {count} frames of {height}x{width} pixels, but it must hold at least one of "
            f"{smallest}x{smallest}: check where it was loaded or cut"
        )


def _cover_size(height: int, width: int, target_height: int, target_width: int) -> tuple[int, int]:
    """The smallest size with the source's aspect ratio that covers the target, the free side rounded down."""
    if width * target_height > target_width * height:
        return target_height, width * target_height // height
    return height * target_width // width, target_width


def _computable(chunk: Tensor) -> Tensor:
    """float64 stays; all else becomes float32, so that half precision is rounded only once, at the end."""
    return chunk if chunk.dtype == torch.float64 else chunk.float()


def _by_chunks(resize: Callable[[Tensor], Tensor], frames: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Apply `resize` to a few frames at a time; [T,n,h,w] -> [T,n,*size] in `dtype`."""
    result = torch.empty(*frames.shape[:2], *size, dtype=dtype, device=frames.device)
    chunk = min(_CHUNK, max(1, _LARGE // frames[0].numel()))
    for source, target in zip(frames.split(chunk), result.split(chunk), strict=True):
        target.copy_(resize(source))
    return result
