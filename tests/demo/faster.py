"""What makes a process that computes small pictures on a CPU faster."""

import torch

# environment variables
FASTER = {
    # on a machine that others use too, threads that wait actively for each other cost five times as long
    "OMP_WAIT_POLICY": "PASSIVE",
    # glibc would give every large tensor of the VAE back to the kernel, which clears it for the next one: a third of
    # the time
    "MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32),
}

_conv3d = torch.nn.functional.conv3d


def take_onednn() -> None:
    """From here on, this process gives small videos the convolution that PyTorch gives large ones.

    Up to 20480 rows of pixels PyTorch takes its plain one, for which a VAE of small pictures spends most of its time:
    10 times oneDNN's at 128x128 with 16 channels.
    """
    if torch.backends.mkldnn.is_available():
        torch.nn.functional.conv3d = _onednn_conv3d


def _onednn_conv3d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    spelled_out = all(isinstance(given, tuple) for given in (stride, padding, dilation))
    if spelled_out and x.device.type == "cpu" and x.dtype == torch.float32:
        return torch.mkldnn_convolution(x, weight, bias, padding, stride, dilation, groups)
    return _conv3d(x, weight, bias, stride, padding, dilation, groups)
