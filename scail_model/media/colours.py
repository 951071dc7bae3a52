"""Colours of HDR and of wide-gamut video, brought to SDR in BT.709 as a display of 100 cd/m2 shows them.

Light as ITU-R BT.2100 defines it (PQ; HLG on a display of 1000 cd/m2), highlights compressed by the curve of ITU-R
BT.2390-10 section 5.4.1, colours by ITU-T H.273's primaries, and back to levels by BT.1886. It is calculated once, as a
table that FFmpeg's lut3d filter looks colours up in.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from .filters import filtered

HLG, PQ = 18, 16  # transfer characteristics of ITU-T H.273
_NAMES = {PQ: "PQ", HLG: "HLG"}
_PRIMARIES = {  # of ITU-T H.273: chromaticities of red, green and blue; white is D65
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_WIDE = {9: "BT.2020", 12: "Display P3"}
_WHITE = (0.3127, 0.3290)
_SDR, _HDR = 100.0, 1000.0  # cd/m2 of the brightest white
_GAMMA = 2.4  # BT.1886
_STEPS = 49  # of the table, for each colour


class Colours(NamedTuple):
    """How colours are stored, as numbers of ITU-T H.273."""

    transfer: int = 1
    primaries: int = 1

    @property
    def plain(self) -> bool:
        """Whether levels are shown as they are."""
        return self.transfer not in _NAMES and self.primaries not in _WIDE

    def doubt(self, name: str) -> str:
        """What has to be said of a video in these colours. name: what messages call it."""
        if self.transfer in _NAMES:
            return (f"The {name} is HDR ({_NAMES[self.transfer]}) and is tone-mapped to SDR (BT.709): export it as SDR "
                    "to decide yourself how it looks.")
        return f"The {name} has the colours of {_WIDE[self.primaries]}, which are converted to BT.709."


def as_sdr(frame: av.VideoFrame, colours: Colours) -> av.VideoFrame:
    """A decoded frame -> gbrp16le in BT.709."""
    return filtered(frame, ("format", {"pix_fmts": "gbrp16le"}), ("lut3d", {"file": str(_table(colours))}))


def sdr(signal: np.ndarray, colours: Colours) -> np.ndarray:
    """R'G'B' in 0..1, [..., 3] -> R'G'B' of BT.709 in 0..1."""
    hdr = colours.transfer in _NAMES
    primaries = colours.primaries if colours.primaries in _PRIMARIES else 9 if hdr else 1
    to_bt709 = np.linalg.inv(_to_xyz(1)) @ _to_xyz(primaries)
    linear = _light(signal, colours.transfer) @ to_bt709.T
    if hdr:
        brightest = linear.max(-1, keepdims=True).clip(1e-6)
        linear = linear * (_compressed(brightest) / brightest)
    return (linear / _SDR).clip(0, 1) ** (1 / _GAMMA)


def _light(signal: np.ndarray, transfer: int) -> np.ndarray:
    """cd/m2 of each primary (BT.2100 tables 4 and 5)."""
    if transfer == PQ:
        return _from_pq(signal)
    if transfer != HLG:
        return _SDR * signal**_GAMMA
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ (0.2627, 0.6780, 0.0593)
    return _HDR * scene * luminance[..., None].clip(1e-9) ** 0.2


_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128  # BT.2100 table 4


def _from_pq(signal: np.ndarray) -> np.ndarray:
    root = signal ** (1 / _M2)
    return 10000 * ((root - _C1).clip(0) / (_C2 - _C3 * root)) ** (1 / _M1)


def _to_pq(light: np.ndarray | float) -> np.ndarray:
    root = (np.asarray(light) / 10000) ** _M1
    return ((_C1 + _C2 * root) / (1 + _C3 * root)) ** _M2


def _compressed(light: np.ndarray) -> np.ndarray:
    """cd/m2 up to that of HDR's white -> cd/m2 up to SDR's: a Hermite spline in PQ above a knee (BT.2390-10)."""
    top = _to_pq(_HDR)
    given, highest = (_to_pq(light) / top).clip(max=1), _to_pq(_SDR) / top
    knee = 1.5 * highest - 0.5
    t = ((given - knee) / (1 - knee)).clip(0)
    spline = ((2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee)
              + (3 * t**2 - 2 * t**3) * highest)
    return _from_pq(np.where(given < knee, given, spline) * top)


def _to_xyz(primaries: int) -> np.ndarray:
    """Linear RGB -> CIE XYZ, such that (1, 1, 1) is white (SMPTE RP 177)."""
    red, green, blue, white = ((x / y, 1.0, (1 - x - y) / y) for x, y in (*_PRIMARIES[primaries], _WHITE))
    columns = np.array((red, green, blue)).T
    return columns * np.linalg.solve(columns, white)


@cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="scail2_colours_")  # removed when Python ends


@cache
def _table(colours: Colours) -> Path:
    """A .cube file, in which red changes first."""
    levels = np.linspace(0, 1, _STEPS)
    blue, green, red = np.meshgrid(levels, levels, levels, indexing="ij")
    found = sdr(np.stack((red, green, blue), -1).reshape(-1, 3), colours)
    path = Path(_folder().name, f"{colours.transfer}_{colours.primaries}.cube")
    with path.open("w") as file:
        file.write(f"LUT_3D_SIZE {_STEPS}\n")
        np.savetxt(file, found, "%.6f")
    return path
