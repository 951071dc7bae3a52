"""What makes x264 write the same file each time that it is given the same frames."""

from __future__ import annotations

import torch

# To weigh blocks by what later frames use of them, x264's code for AVX-512 takes eight of a row at a time, also what
# memory holds behind the last one where their number is no multiple of eight. So equal frames gave another file now and
# then, seen at widths of 32, 96 and 480: up to one in four, as the heap happened to lie. Its code for AVX2 ends with
# the row, writes the file that nearly all the others are equal to, and takes as long.
SAME_FILE: dict[str, str] = (
    {"x264-params": "asm=avx2"} if torch.backends.cpu.get_cpu_capability() == "AVX512" else {})
