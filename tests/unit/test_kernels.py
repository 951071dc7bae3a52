"""The Triton kernels against the PyTorch functions that define them, in Triton's interpreter on the CPU."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the GPU kernels are not tested: Triton is not installed (Linux only)")

# a process of its own, because Triton reads the variable when it is imported
SCRIPT = """
    import os
    os.environ["TRITON_INTERPRET"] = "1"
    import torch
    import torch.nn.functional as F
    from scail_model.kernels import elementwise, triton_elementwise as kernels

    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    dims = (2, 5, 384)  # not a power of two; three heads; two items with modulations of their own
    x, y = torch.randn(2, *dims)
    for lead in (1, 2):
        weight, bias = torch.randn(2, lead, 1, dims[-1])
        for dtype in (torch.float32, torch.bfloat16):
            torch.testing.assert_close(kernels.layer_norm(x, weight, bias, 1e-6, dtype),
                                       elementwise.layer_norm(x, weight, bias, 1e-6, dtype))
    weight = torch.randn(dims[-1])
    cos, sin = torch.randn(2, dims[1], 64)
    for rotation in (None, (cos, sin), (cos[1:], sin[1:])):
        part = x if rotation is None else x[:, -len(rotation[0]):]
        for dtype in (torch.float32, torch.bfloat16):
            expected = elementwise.rms_norm(part.to(dtype), weight, 1e-6, rotation)
            torch.testing.assert_close(kernels.rms_norm_(part.to(dtype, copy=True), weight, 1e-6, rotation), expected)
    gate = torch.randn(2, 1, dims[-1])
    for g in (None, gate):
        stream = x.clone()
        result = kernels.add_gated_(stream, y.bfloat16(), g)
        torch.testing.assert_close(result, elementwise.add_gated_(x.clone(), y.bfloat16(), g))
        assert result.data_ptr() == stream.data_ptr()
        for lead in (1, 2):
            weight, bias = torch.randn(2, lead, 1, dims[-1])
            stream = x.clone()
            results = kernels.add_gated_norm_(stream, y.bfloat16(), g, weight, bias, 1e-6, torch.bfloat16)
            torch.testing.assert_close(results, elementwise.add_gated_norm_(x.clone(), y.bfloat16(), g, weight, bias,
                                                                            1e-6, torch.bfloat16))
            assert results[0].data_ptr() == stream.data_ptr()
    print("all equal")
"""


def test_kernels_equal_their_definitions():
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, text=True,
                            cwd=Path(__file__).parents[2], timeout=120)
    assert result.stdout.strip() == "all equal", result.stderr
