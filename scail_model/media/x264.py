"""What makes x264 write the same file each time that it is given the same frames."""

from __future__ import annotations

import torch

# With x264's code for AVX-512, equal frames gave another file now and then, seen at widths of 32, 96 and 480: up to one
# in four, as the heap happened to lie. With that for AVX2, or without mbtree, none did; that for AVX2 gives the file
# that nearly all the others were equal to, and takes as long. By its source, the likely reason is that mbtree takes
# eight blocks of a row at a time, and what memory holds behind the last one with them.
SAME_FILE: dict[str, str] = (
    {"x264-params": "asm=avx2"} if torch.backends.cpu.get_cpu_capability() == "AVX512" else {})
