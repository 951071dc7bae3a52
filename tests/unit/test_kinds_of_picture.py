"""Pictures as the world makes them: each kind gives the right pixels, or one sentence.

The picture: 48x32, orange with a blue upper left quarter. Both doors show the same: where Load Image of ComfyUI decodes
a kind as people see it, the command line's pixels are those, to the bit.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from video_kinds import PQ, hdr, tone_mapped

from scail_model.headless.inputs import Files, read_inputs
from scail_model.media.pictures import read_picture

HEIGHT, WIDTH = 32, 48
ORANGE, BLUE = (200, 60, 40), (40, 80, 200)


def scene(alpha: int | None = None) -> np.ndarray:
    found = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    found[:] = ORANGE
    found[: HEIGHT // 2, : WIDTH // 2] = BLUE
    return found if alpha is None else np.dstack((found, np.full((HEIGHT, WIDTH, 1), alpha, np.uint8)))


def image(alpha: int | None = None) -> Image.Image:
    return Image.fromarray(scene(alpha))


def grey() -> np.ndarray:
    """Levels of 16 bits that 8 bits have too."""
    return scene()[..., 0].astype(np.uint16) * 257


def over_white(colour: tuple[int, int, int], alpha: int = 128) -> tuple[float, ...]:
    return tuple(value * alpha / 255 + 255 - alpha for value in colour)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of_16_bits(path: Path, alpha: int | None = None) -> None:
    """Colours of 16 bits, which Pillow cannot write."""
    write_png(path, scene(alpha).astype(">u2") * 257)


def hdr_png(path: Path) -> None:
    write_png(path, hdr(PQ)[0, ::2, ::2], chunk(b"cICP", bytes((9, PQ, 0, 1))))


def write_png(path: Path, pixels: np.ndarray, about: bytes = b"") -> None:
    """Levels of 16 bits, RGB or RGBA."""
    rows = b"".join(b"\0" + row.tobytes() for row in pixels.astype(">u2"))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2 if pixels.shape[-1] == 3 else 6, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + about + chunk(b"IDAT", zlib.compress(rows))
                     + chunk(b"IEND", b""))


def tiff_of_floats(path: Path, white: float = 1.0) -> None:
    """Colours of floats, which Pillow knows nothing of (TIFF 6.0 with SampleFormat)."""
    data = (scene() / np.float32(255) * np.float32(white)).astype("<f4").tobytes()
    bits, kinds, pixels = 134, 140, 146  # places of what does not fit into a tag
    tags = ((256, 3, 1, WIDTH), (257, 3, 1, HEIGHT), (258, 3, 3, bits), (259, 3, 1, 1), (262, 3, 1, 2),
            (273, 4, 1, pixels), (277, 3, 1, 3), (278, 3, 1, HEIGHT), (279, 4, 1, len(data)), (339, 3, 3, kinds))
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory
                     + struct.pack("<I3H3H", 0, *[32] * 3, *[3] * 3) + data)


def hidden(path: Path) -> None:
    """A cut-out whose transparent pixels have colours of their own, as photo editors leave them."""
    pixels = scene(255)
    pixels[:, WIDTH // 2 :, 3] = 0
    Image.fromarray(pixels).save(path)


def palette(path: Path) -> None:
    """One colour of the palette is transparent."""
    indexed = image().quantize(8)
    indexed.save(path, transparency=indexed.getpixel((WIDTH - 1, HEIGHT - 1)))


def turned(orientation: int) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        image().save(path, exif=exif, **({"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}))

    return save


def saved(mode: str = "RGB", **how) -> Callable[[Path], None]:
    return lambda path: image().convert(mode).save(path, **how)


@dataclass
class Row:
    """name: of the file. colour, corner: of the lower right and of the upper left quarter. loaded: whether ComfyUI's
    Load Image shows the picture as people see it."""

    name: str
    save: Callable[[Path], object]
    colour: tuple[float, ...] = ORANGE
    corner: tuple[float, ...] = BLUE
    tolerance: float = 0.5
    loaded: bool = True
    warning: bool = False
    said: str = "has transparency, which is shown over white: save it over another"


ROWS = [
    Row("plain.png", saved()),
    Row("plain.bmp", saved(), tolerance=1),
    Row("plain.tif", saved()),
    Row("photo.jpg", saved(quality=95), tolerance=3),
    Row("photo, no subsampling.jpg", saved(quality=100, subsampling=0), tolerance=2),
    Row("photo, progressive.jpg", saved(quality=90, progressive=True), tolerance=5),
    Row("grey photo.jpg", saved("L", quality=100), colour=(99.6,) * 3, corner=(81.7,) * 3, tolerance=2),
    Row("still.webp", saved(quality=100), tolerance=4),
    Row("lossless.webp", saved(lossless=True), tolerance=1),
    Row("still.avif", saved(quality=95), tolerance=4),
    Row("two lenses.mpo", saved(save_all=True, append_images=[image().rotate(180)], quality=95), tolerance=3),
    Row("still.jp2", saved()),
    Row("still.tga", saved(), tolerance=1),
    Row("still.ppm", saved()),
    Row("still.gif", saved(), tolerance=2),
    Row("palette.png", lambda path: image().quantize(8).save(path)),
    Row("black and white.png", lambda path: image().convert("1", dither=Image.Dither.NONE).save(path),
        colour=(0,) * 3, corner=(0,) * 3),
    Row("grey.png", saved("L"), colour=(99.6,) * 3, corner=(81.7,) * 3, tolerance=1),
    # deep
    Row("grey, 16 bit.png", lambda path: Image.fromarray(grey()).save(path), colour=(200,) * 3, corner=(40,) * 3),
    Row("grey, 16 bit.tif", lambda path: Image.fromarray(grey()).save(path), colour=(200,) * 3, corner=(40,) * 3),
    Row("16 bit.png", png_of_16_bits),
    Row("float.tif", lambda path: Image.fromarray(grey().astype(np.float32) / 65535).save(path), colour=(200,) * 3,
        corner=(40,) * 3, loaded=False),
    Row("floats in colour.tif", tiff_of_floats),
    # print
    Row("CMYK.jpg", saved("CMYK", quality=100, subsampling=0), tolerance=3),
    Row("CMYK.tif", saved("CMYK"), loaded=False, tolerance=2),
    # transparency, over white
    Row("half transparent.png", lambda path: image(128).save(path), over_white(ORANGE), over_white(BLUE), 1, False,
        True),
    Row("half transparent, 16 bit.png", lambda path: png_of_16_bits(path, 128), over_white(ORANGE), over_white(BLUE), 1,
        False, True),
    Row("half transparent.webp", lambda path: image(128).save(path, quality=100), over_white(ORANGE), over_white(BLUE),
        4, False, True),
    Row("a cut-out with hidden colours.png", hidden, (255,) * 3, loaded=False, warning=True),
    Row("palette with a transparent colour.png", palette, (255,) * 3, loaded=False, warning=True),
    Row("opaque alpha.png", lambda path: image(255).save(path)),
    # cameras: the corner is where it was when the picture was taken
    *(Row(f"orientation {number}.{ending}", turned(number), tolerance=4, loaded=number in (3, 6, 8))
      for number in range(2, 9) for ending in ("jpg", "png")),
    # HDR, as cameras and screens write it
    Row("HDR, PQ.png", hdr_png, tone_mapped(ORANGE), tone_mapped(BLUE), 3, False, True,
        "is HDR (PQ) and is tone-mapped to SDR (BT.709)"),
    Row("name with %d and ü.png", saved(), loaded=False),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_kind_gives_the_right_pixels(tmp_path, row):
    path, warnings = tmp_path / row.name, []
    row.save(path)
    found = read_picture(path, "reference", warnings).numpy()
    stored = as_stored(found, path).astype(float)
    assert stored.shape == (HEIGHT, WIDTH, 3)
    assert stored[20:30, 28:46].mean((0, 1)) == pytest.approx(np.array(row.colour), abs=row.tolerance)
    assert stored[2:12, 2:20].mean((0, 1)) == pytest.approx(np.array(row.corner), abs=row.tolerance)
    assert len(warnings) == row.warning
    assert not warnings or row.said in warnings[0]
    if row.loaded:
        assert np.array_equal(found, load_image(path))


def as_stored(found: np.ndarray, path: Path) -> np.ndarray:
    """Turned back to how it lies in the file (EXIF's table of orientations)."""
    way = int(path.stem[-1]) if path.name.startswith("orientation") else 1
    if way >= 5:
        found = found.transpose(1, 0, 2)
    rows, columns = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (-1, 1), 7: (-1, -1),
                     8: (1, -1)}[way]
    return found[::rows, ::columns]


def load_image(path: Path) -> np.ndarray:
    """The pixels of ComfyUI's Load Image in 8 bits, by its rules: PyAV, some formats in 8 bits and others in floats,
    widths padded to 32, quarter turns."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    height, width = frame.height, frame.width
    if frame.format.name in ("yuvj420p", "yuvj422p", "yuvj444p", "rgb24", "rgba", "pal8"):
        pixels = frame.to_ndarray(format="rgb24")
    else:
        graph = av.filter.Graph()
        source = graph.add_buffer(width=width, height=height, format=frame.format.name, time_base=frame.time_base)
        across, down = -(-width // 32) * 32, -(-height // 32) * 32
        pad = graph.add("pad", f"{across}:{down}:0:0")
        fill = graph.add("fillborders", f"left=0:right={across - width}:top=0:bottom={down - height}:mode=smear")
        sink = graph.add("buffersink")
        for one, other in ((source, pad), (pad, fill), (fill, sink)):
            one.link_to(other)
        graph.configure()
        source.push(frame)
        alpha = any(component.is_alpha for component in frame.format.components)
        floats = sink.pull().to_ndarray(format="gbrapf32le" if alpha else "gbrpf32le")[:height, :width, :3]
        pixels = np.rint(floats * np.float32(255)).clip(0, 255).astype(np.uint8)
    return np.rot90(pixels, round(frame.rotation // 90) % 4)


# Files that cannot be read, in one sentence

def bomb(path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100))
                     + chunk(b"IEND", b""))


def cut_short(path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def animated(path: Path) -> None:
    image().save(path, save_all=True, append_images=[image().rotate(90), image().rotate(180)])


def a_video(path: Path) -> None:
    with av.open(str(path), "w", "mp4") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(scene(), format="rgb24")))
        output.mux(stream.encode())


def heic(path: Path) -> None:
    path.write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(200))


SENTENCES = [
    ("empty.png", lambda path: path.touch(), "cannot be read as a picture .*: save it again as PNG or JPEG"),
    ("text.png", lambda path: path.write_text("hello"), "cannot be read as a picture .*: save it again as PNG or JPEG"),
    ("a page.jpg", lambda path: path.write_text("<html>not found</html>"), "cannot be read as a picture"),
    ("cut short.png", cut_short, "cannot be read as a picture"),
    ("cut short.jpg", cut_short, "cannot be read as a picture .*truncated"),
    ("a bomb.png", bomb, r"has more pixels than a picture should \(.*3600000000 pixels.*\): scale it down"),
    ("animation.gif", animated, "holds 3 pictures: save the one that is meant as PNG"),
    ("animation.webp", animated, "holds 3 pictures: save the one that is meant as PNG"),
    ("animation.png", animated, "holds 3 pictures: save the one that is meant as PNG"),
    ("iPhone.heic", heic, "cannot be read as a picture .*: save it again as PNG or JPEG"),
    ("floats up to 255.tif", lambda path: Image.fromarray(scene()[..., 0].astype(np.float32)).save(path),
     "holds numbers up to 200, where 1 would be white: save it with 8 or 16 bits"),
    ("floats in colour up to 255.tif", lambda path: tiff_of_floats(path, 255.0),
     "holds numbers up to 200, where 1 would be white"),
    ("a video.png", a_video, "cannot be read as a picture"),
    ("not a number.tif", lambda path: Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(path),
     "holds numbers up to nan, where 1 would be white"),
]


@pytest.mark.parametrize(("name", "make", "sentence"), SENTENCES, ids=[row[0] for row in SENTENCES])
def test_a_kind_that_cannot_be_read_gives_one_sentence(tmp_path, name, make, sentence):
    make(tmp_path / name)
    with pytest.raises(RuntimeError, match=rf"^The reference .*{name} {sentence}"):
        read_picture(tmp_path / name, "reference")


def test_a_very_long_name(tmp_path):
    path = tmp_path / ("x" * 300 + ".png")
    with pytest.raises(RuntimeError, match=r"^The driving video .*xxx.png does not exist: check the path"):
        read_inputs(Files([], [], path, path), 64, 64, False)
