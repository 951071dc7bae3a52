"""The miniature's video VAE: the architecture and the tensor names of Wan 2.1's, whole clips at once, with gradients.

After `WanVAE_` in the official `wan/modules/vae.py` (arXiv 2503.20314, section 4.1). There frames pass in chunks with
a cache; all of it is causal in time, so a whole clip gives the same numbers in one pass, which is what training needs.
Time is compressed four times, except the first frame, which stands alone; height and width are compressed eight times.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

# mean and standard deviation of Wan 2.1's latents (official `wan/modules/vae.py`), which every user of its VAE assumes
MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)
STD = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
       3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)
CHANNELS = 16
_WIDTHS = (1, 2, 4, 4)
_HALVES_TIME = (False, True, True)


class VideoVAE(nn.Module):
    """Encoder and decoder of a width `dim` (96 in the large one)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.encoder = Encoder(dim)
        self.conv1 = CausalConv(2 * CHANNELS, 2 * CHANNELS, 1)
        self.conv2 = CausalConv(CHANNELS, CHANNELS, 1)
        self.decoder = Decoder(dim)
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1, 1), persistent=False)

    @classmethod
    def load(cls, path: Path | str) -> VideoVAE:
        """Read a file of any width; float32."""
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
        vae = cls(state["encoder.conv1.weight"].shape[0])
        vae.load_state_dict(state)
        return vae.requires_grad_(False)

    def distribution(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """[n, 3, T, H, W] in -1..1 -> mean and log variance of the raw latent, each [n, 16, (T-1)/4+1, H/8, W/8]."""
        return self.conv1(self.encoder(video)).chunk(2, 1)

    def picture(self, latent: Tensor) -> Tensor:
        """Raw latent -> [n, 3, T, H, W] in about -1..1."""
        return self.decoder(self.conv2(latent))

    def encode(self, video: Tensor) -> Tensor:
        """[n, T, 3, H, W] in 0..1, T = 4k+1 -> normalised latents [n, 16, k+1, H/8, W/8], float32; the computation is
        in the dtype of the video."""
        return (self.distribution((video * 2 - 1).transpose(1, 2))[0].float() - self.mean) / self.std

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents [n, 16, T', h, w] -> [n, 4T'-3, 3, 8h, 8w] in 0..1."""
        return (self.picture(latents * self.std + self.mean).float().transpose(1, 2) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def fit_latents(self, mean: Tensor, std: Tensor) -> None:
        """Make latents that were measured to have `mean` and `std` [16] come out with Wan 2.1's, exactly: the last
        layer before the latent and the first one after it are 1x1x1 convolutions, which take the change up."""
        factor = self.std.flatten() / std
        target = self.mean.flatten()
        self.conv1.weight[:CHANNELS] *= factor.view(-1, 1, 1, 1, 1)
        self.conv1.bias[:CHANNELS] = (self.conv1.bias[:CHANNELS] - mean) * factor + target
        self.conv1.bias[CHANNELS:] += 2 * factor.log()
        self.conv2.bias += self.conv2.weight[:, :, 0, 0, 0] @ (mean - target / factor)
        self.conv2.weight /= factor.view(1, -1, 1, 1, 1)


class Encoder(nn.Module):
    """Video -> 32 channels, of which the two halves become mean and log variance."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        widths = [dim * factor for factor in (1, *_WIDTHS)]
        self.conv1 = CausalConv(3, widths[0], 3)
        layers: list[nn.Module] = []
        for level, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            layers += [ResidualBlock(inputs, outputs), ResidualBlock(outputs, outputs)]
            if level < len(_HALVES_TIME):
                layers.append(Downsample(outputs, _HALVES_TIME[level]))
        self.downsamples = nn.Sequential(*layers)
        self.middle = middle(widths[-1])
        self.head = Head(widths[-1], 2 * CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(self.downsamples(self.conv1(x))))


class Decoder(nn.Module):
    """Latent -> video."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        widths = [dim * factor for factor in (_WIDTHS[-1], *reversed(_WIDTHS))]
        self.conv1 = CausalConv(CHANNELS, widths[0], 3)
        self.middle = middle(widths[0])
        layers: list[nn.Module] = []
        for level, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            inputs = inputs // 2 if level else inputs  # an upsampling layer halves the channels
            layers += [ResidualBlock(inputs, outputs), ResidualBlock(outputs, outputs), ResidualBlock(outputs, outputs)]
            if level < len(_HALVES_TIME):
                layers.append(Upsample(outputs, _HALVES_TIME[::-1][level]))
        self.upsamples = nn.Sequential(*layers)
        self.head = Head(widths[-1], 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.upsamples(self.middle(self.conv1(x))))


def middle(dim: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(dim, dim), AttentionBlock(dim), ResidualBlock(dim, dim))


class Head(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(Norm(inputs, 3), nn.SiLU(), CausalConv(inputs, outputs, 3))

    def forward(self, x: Tensor) -> Tensor:
        norm, _, conv = self
        return conv(norm_silu(x, norm.gamma, 2), padded=True)


class CausalConv(nn.Conv3d):
    """A convolution that sees no later frame; computes in its input's dtype."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__(inputs, outputs, size, padding=(0, size // 2, size // 2))

    def forward(self, x: Tensor, padded: bool = False) -> Tensor:
        """x [n, C, T, H, W] -> [n, C', T, H, W]; with `padded` the zeros before the first frame are there already."""
        if not padded:
            x = F.pad(x, (0, 0, 0, 0, self.kernel_size[0] - 1, 0))
        return self._conv_forward(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


def norm_silu(x: Tensor, gamma: Tensor, before: int) -> Tensor:
    """Root mean square norm over the channels times gamma, as `F.normalize(x) * sqrt(C)` has it, then SiLU, then
    `before` frames of zeros in front. On a GPU that has Triton, one kernel."""
    if x.is_cuda and find_spec("triton") and x.shape[1] & (x.shape[1] - 1) == 0:
        from gpu import NormSiLU

        return NormSiLU.apply(x, gamma, before)
    scale = torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-12)
    return F.pad(F.silu(x * scale * gamma).to(x.dtype), (0, 0, 0, 0, before, 0))


class Norm(nn.Module):
    """The norm's weight; where a SiLU and a convolution follow, `norm_silu` applies it."""

    def __init__(self, dim: int, axes: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, *[1] * axes))

    def forward(self, x: Tensor) -> Tensor:
        return (x * torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-12) * self.gamma).to(x.dtype)


class ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            Norm(inputs, 3), nn.SiLU(), CausalConv(inputs, outputs, 3),
            Norm(outputs, 3), nn.SiLU(), nn.Dropout(0.0), CausalConv(outputs, outputs, 3))
        self.shortcut = nn.Identity() if inputs == outputs else CausalConv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        norm1, _, conv1, norm2, _, _, conv2 = self.residual
        hidden = conv1(norm_silu(x, norm1.gamma, 2), padded=True)
        return conv2(norm_silu(hidden, norm2.gamma, 2), padded=True) + self.shortcut(x)


class Conv2d(nn.Conv2d):
    """A convolution of each frame; computes in its input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class Conv3d(nn.Conv3d):
    """A convolution that computes in its input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class AttentionBlock(nn.Module):
    """Attention among the pixels of each frame."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = Norm(dim, 2)
        self.to_qkv = Conv2d(dim, 3 * dim, 1)
        self.proj = Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        frames = _frames(x)
        q, k, v = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2)[:, None].chunk(3, -1)  # [nT, 1, HW, C]
        attended = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).reshape(frames.shape)
        return x + _video(self.proj(attended), len(x))


class Downsample(nn.Module):
    """Half the height and width, and half the frames after the first where `time` is set."""

    def __init__(self, dim: int, time: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), Conv2d(dim, dim, 3, stride=2))
        if time:
            self.time_conv = Conv3d(dim, dim, (3, 1, 1), stride=(2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = _video(self.resample(_frames(x)), len(x))
        if not hasattr(self, "time_conv") or x.shape[2] == 1:
            return x
        return torch.cat((x[:, :, :1], self.time_conv(x)), 2)


class Upsample(nn.Module):
    """Twice the height and width, and two frames for every one after the first where `time` is set."""

    def __init__(self, dim: int, time: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.Upsample(scale_factor=(2.0, 2.0), mode="nearest-exact"),
                                      Conv2d(dim, dim // 2, 3, padding=1))
        if time:
            self.time_conv = Conv3d(dim, 2 * dim, (3, 1, 1), padding=(2, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "time_conv") and x.shape[2] > 1:
            later = x[:, :, 1:]
            pairs = self.time_conv(later)[:, :, : later.shape[2]].unflatten(1, (2, -1))  # [n, 2, C, T-1, H, W]
            x = torch.cat((x[:, :, :1], pairs.movedim(1, 3).flatten(2, 3)), 2)
            x = x.contiguous(memory_format=torch.channels_last_3d)
        return _video(self.resample(_frames(x)), len(x))


def _frames(x: Tensor) -> Tensor:
    """[n, C, T, H, W] -> [n * T, C, H, W]."""
    return x.transpose(1, 2).flatten(0, 1)


def _video(x: Tensor, count: int) -> Tensor:
    return x.unflatten(0, (count, -1)).transpose(1, 2)


def initialise(vae: VideoVAE, seed: int) -> None:
    """Weights to begin training with: residual branches start small, and the latent with little noise, because a
    decoder that first meets an unreadable latent learns to do without it."""
    torch.manual_seed(seed)
    for name, parameter in vae.named_parameters():
        if name.endswith("gamma"):
            nn.init.ones_(parameter)
        elif parameter.ndim == 1:
            nn.init.zeros_(parameter)
        else:
            last = ".residual.6." in name or ".proj." in name
            first = ".residual.2." in name
            gain = 0.3 if last else 1.3 if first else 1.0
            nn.init.normal_(parameter, std=gain / parameter[0].numel() ** 0.5)
    with torch.no_grad():
        vae.conv1.weight[CHANNELS:] = 0
        vae.conv1.bias[CHANNELS:] = -5.0
