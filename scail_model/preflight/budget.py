"""Budget: GPU memory, main memory, disk space and time of a run, estimated before anything is sampled.

The constants are fitted to measurements in bfloat16 on one NVIDIA H200 (`tests/bench/budget_gpu.py`, figures in
`tests/bench/budget_h200.json`). The time on another GPU is the H200's, scaled by the speed of a matrix product: within
6 % on an H100 (`budget_h100.json`), the only other GPU measured. For L tokens of width d, N layers, a feed-forward
width f, c = 769 context tokens, A pixels in a frame:

    L             A / 256 * (references + latent frames) + A / 1024 * latent frames
    linears       N * (2 * L * (6 * d^2 + 2 * d * f) + 4 * c * d^2) FLOP at 661 TFLOP/s
    attention     N * 4 * L * (L + c) * d FLOP at 588 TFLOP/s
    in int8       0.78 of the linears' time, with the Triton kernels
    sparse        for a share s of self-attention that is computed, 0.05 + 0.9 * s of its time
    memory        of a forward: `activations`. Time on several GPUs: `gpus.gain`
    decoding      A * (7923 + 6.15 * frames) bytes, A * (42.9 + 52.9 * (frames - 1)) nanoseconds
    encoding      A * (5561 + 6.20 * frames) bytes, A * (27.1 + 33.5 * (frames - 1)) nanoseconds

Not included: text and image encoders, the VAE's own weights (0.24 GiB), LoRAs, allocator overhead, further copies by
ComfyUI (up to a second time projection), encoding references and history, file access, and waiting for weights that do
not fit on the GPU. Attention backends other than PyTorch's have other speeds.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from ..config import TransformerConfig
from ..gpus.gain import ALONE, Together
from ..kernels.precision import int8_linears, int8_storage
from ..sparse.settings import SparseSettings
from .activations import activation_bytes
from .forward_time import H200_TFLOPS, forward_flops, token_seconds

# In main memory, per pixel of the result: decoded frames in float32 twice, driving frames, and the latter at half size
# in float32.
FRAME_BYTES = 2 * 12 + 3 + 3
_ENCODED_BYTES, _LOSSLESS_BYTES = 0.15, 3.0  # on disk, per pixel: H.264 at CRF 14, 12-bit RGB with its noise

_PROBE_SIZES = (1024, 2048, 4096, 8192)
_PROBE_SECONDS = 2e-3
_PROBE_REPEATS = 6


@dataclass(frozen=True)
class Coder:
    """Cost of the VAE's decoder or encoder: bytes and nanoseconds per pixel of a frame.

    picture_bytes, video_bytes: held by the network, for one picture and for a video. frame_bytes: for each frame.
    """

    picture_bytes: float
    video_bytes: float
    frame_bytes: float
    first_nanoseconds: float
    next_nanoseconds: float

    def bytes(self, width: int, height: int, frames: int) -> int:
        """Peak memory, without the weights."""
        network = self.picture_bytes if frames == 1 else self.video_bytes
        return round(width * height * (network + self.frame_bytes * frames))

    def seconds(self, width: int, height: int, frames: int) -> float:
        """Duration on the H200."""
        return 1e-9 * width * height * (self.first_nanoseconds + self.next_nanoseconds * (frames - 1))


STREAMED, OFFLOADED, RESIDENT = "streamed", "offloaded", "resident"
DECODING = Coder(1255, 7923, 6.15, 42.9, 52.9)
ENCODING = Coder(962, 5561, 6.20, 27.1, 33.5)


@dataclass(frozen=True)
class Work:
    """Everything that determines the cost. Sizes in pixels, `lengths` in frames of each segment (4n+1).

    width, height: of the result. additional: number of additional references. guidance: 1 means one forward per step.
    weight_bytes: as stored in the file. in_chunks: whether blocks compute in chunks on a small card. weights: STREAMED
    block by block as memory needs it, OFFLOADED as a whole while the VAE works, or RESIDENT all the time. decoder: the
    VAE's. int8: whether most linears are. sparse: how sparse attention is, None where all of it is computed. plate:
    whether the file has the driving video's size. locked: whether that is encoded at the result's size too. together:
    the GPUs that make the video.
    """

    config: TransformerConfig
    width: int
    height: int
    lengths: tuple[int, ...]
    additional: int
    steps: int
    guidance: float
    weight_bytes: int
    driving_width: int
    driving_height: int
    overlap: int = 5
    lossless: bool = False
    in_chunks: bool = True
    weights: str = STREAMED
    decoder: Coder = DECODING
    int8: bool = False
    sparse: SparseSettings | None = None
    plate: bool = False
    locked: bool = False
    together: Together = ALONE

    @property
    def conditionings(self) -> int:
        """Forwards per step."""
        return 2 if self.guidance > 1 else 1

    @property
    def shared(self) -> tuple[int, Together]:
        """Forwards of a step that come one after the other, and the GPUs of each."""
        return self.together.shared(self.conditionings)


@dataclass(frozen=True)
class Machine:
    """The machine. Memory in bytes; of several GPUs that of the fullest. matmul_tflops: from `probe_tflops`, None
    without a GPU. link: from `gpus.probe.link_rate`, None of one GPU or where it was not measured."""

    total_vram: int
    free_vram: int
    free_ram: int
    matmul_tflops: float | None
    link: float | None = None


@dataclass(frozen=True)
class Need:
    """Estimated needs, in bytes of GPU memory where nothing else is said.

    activations: one forward of one conditioning. activations_together: all conditionings in one batch, as ComfyUI runs
    them if they fit. vae: the larger of decoding and of encoding the driving video. whole: peak with all weights on the
    GPU; the VAE is not added, because ComfyUI makes room for it. sampling: peak of a forward with weights streamed
    block by block. least: the larger of `sampling` and `vae`, the VAE in one piece (ComfyUI falls back to tiles if only
    `vae` does not fit). ram: main memory for the frames of one segment, without weights and what is already loaded.
    disk: the job folder, at typical sizes of encoded video. flops: of all forwards.
    """

    activations: int
    activations_together: int
    vae: int
    whole: int
    sampling: int
    least: int
    ram: int
    disk: int
    flops: int


def estimate(work: Work, total_vram: int = 0) -> Need:
    """Memory and arithmetic of a run. total_vram: bytes of the card, which decides whether blocks compute in chunks."""
    total_vram = total_vram if work.in_chunks else 0
    longest = max(work.lengths)
    tokens = token_count(work.width, work.height, longest, work.additional)
    rounds, together = work.shared
    activations = activation_bytes(work.config, tokens, 1, total_vram, together.gpus, int8=work.int8)
    encoding = 1 if work.locked else 2
    vae = max(work.decoder.bytes(work.width, work.height, longest),
              ENCODING.bytes(work.width // encoding, work.height // encoding, longest))
    frame = (FRAME_BYTES + 3 * work.locked) * work.width * work.height + 3 * work.driving_width * work.driving_height
    sampling = activations + 2 * block_weights(work)  # one block computes while the next one is loaded
    return Need(
        activations=activations,
        activations_together=activation_bytes(work.config, tokens, rounds, total_vram, together.gpus,
                                              int8=work.int8),
        vae=vae,
        whole=max(work.weight_bytes + activations, vae),
        sampling=sampling,
        least={
            STREAMED: max(sampling, vae),
            OFFLOADED: max(work.weight_bytes + activations, vae),
            RESIDENT: work.weight_bytes + max(activations, vae),
        }[work.weights],
        ram=longest * frame,
        disk=sum(_disk_bytes(work, length) for length in work.lengths),
        flops=work.steps * work.conditionings * sum(
            sum(forward_flops(work.config, token_count(work.width, work.height, length, work.additional)))
            for length in work.lengths),
    )


def seconds(work: Work, machine: Machine) -> float | None:
    """Duration of encoding, sampling and decoding all segments; None without a GPU."""
    if machine.matmul_tflops is None:
        return None
    pace = H200_TFLOPS / machine.matmul_tflops
    return sampling_seconds(work, pace) + pace * coding_seconds(work)


def sampling_seconds(work: Work, pace: float = 1.0) -> float:
    """Duration of all forwards on GPUs that take `pace` seconds for one of the H200."""
    return work.steps * work.shared[0] * sum(
        forward_seconds(work, length, H200_TFLOPS / pace) for length in work.lengths)


def coding_seconds(work: Work) -> float:
    """Duration of encoding the driving video and decoding the result on the H200."""
    return sum(ENCODING.seconds(work.width // 2, work.height // 2, length)
               + work.locked * ENCODING.seconds(work.width, work.height, length)
               + DECODING.seconds(work.width, work.height, length) for length in work.lengths)


def forward_seconds(work: Work, length: int, matmul_tflops: float = H200_TFLOPS) -> float:
    """Duration of one forward of one conditioning for a segment of `length` frames."""
    tokens = token_count(work.width, work.height, length, work.additional)
    density = 1.0 if work.sparse is None else work.sparse.first(tokens)
    return token_seconds(work.config, tokens, matmul_tflops, int8=work.int8, density=density, together=work.shared[1])


def token_count(width: int, height: int, frames: int, additional: int) -> int:
    """Tokens of one forward: references and video at full size, the driving video at half of it."""
    area, latent_frames = width * height, (frames - 1) // 4 + 1
    return area // 256 * (additional + 1 + latent_frames) + area // 1024 * latent_frames


def block_weights(work: Work) -> int:
    """A block's share of the weights."""
    sizes = {name: math.prod(shape) for name, shape in work.config.parameter_shapes().items()}
    block = sum(size for name, size in sizes.items() if name.startswith("blocks.0."))
    return work.weight_bytes * block // sum(sizes.values())


def stored_bytes(config: TransformerConfig, dtype: torch.dtype, precision: str) -> int:
    """All weights in `dtype`, but for those that a precision stores in int8, which have a float32 scale per output."""
    narrow = {f"{linear}.weight" for linear in int8_linears(config.num_layers)} if int8_storage(precision) else ()
    return sum(shape[0] * (shape[1] + 4) if name in narrow else math.prod(shape) * dtype.itemsize
               for name, shape in config.parameter_shapes().items())


def probe_tflops(device: torch.device) -> float:
    """TFLOP/s of a bfloat16 matrix product, the best of a few; the size is reduced on slow GPUs, to take 0.15 s."""
    generator = torch.Generator(device).manual_seed(0)
    size, best = 0, math.inf
    for size in _PROBE_SIZES:
        a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16, generator=generator) for _ in range(2))
        _timed_product(a, b)  # loads the kernel
        best = min(_timed_product(a, b) for _ in range(_PROBE_REPEATS))
        if best > _PROBE_SECONDS:
            break
    return 2 * size**3 / best / 1e12


def duration(seconds: float) -> str:
    """In words, as exactly as an estimate is: seconds up to five minutes, then minutes."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 300:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _timed_product(a: torch.Tensor, b: torch.Tensor) -> float:
    start = time.perf_counter()
    (a @ b)[0, 0].item()  # waits for the GPU
    return time.perf_counter() - start


def kept_bytes(width: int, height: int, length: int, overlap: int) -> int:
    """What the job folder holds of one segment beside encoded video: its latent and its last frames, uncompressed."""
    latent = 4 * 16 * ((length - 1) // 4 + 1) * (width * height // 64)
    return latent + 4 * 3 * overlap * width * height


def _disk_bytes(work: Work, length: int) -> int:
    """Of one segment: what is kept, the encoded frames, and these again in the joined file."""
    pixels = work.driving_width * work.driving_height if work.plate else work.width * work.height
    encoded = length * pixels * (_LOSSLESS_BYTES if work.lossless else _ENCODED_BYTES)
    return round(kept_bytes(work.width, work.height, length, work.overlap) + 2 * encoded)
