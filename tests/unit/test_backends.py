"""How the backend of an operation is chosen. What the backends compute: `test_kernels.py`."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from scail_model.kernels import elementwise, int8
from scail_model.kernels.backends import Backends


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def test_triton_kernels_in_the_interpreter():
    pytest.importorskip("triton", reason="the GPU kernels are not tested: Triton is not installed (Linux only)")
    result = subprocess.run([sys.executable, "-m", "pytest", "-v", "--durations=8", "-p", "no:cacheprovider",
                             str(Path(__file__).with_name("test_kernels.py"))],
                            env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "test_layer_norm[triton" in result.stdout


def test_pytorch_computes_where_there_is_no_gpu():
    """And whatever the backend, gradients are recorded by PyTorch alone."""
    backends, x = Backends("elementwise"), torch.ones(1)
    assert not backends.prepare(x.device, "")
    assert backends.of(x) is backends.eager
    backends.faster[x.device] = other = object()
    assert backends.of(x) is other
    with torch.enable_grad():
        assert backends.of(x) is backends.eager
    backends.drop(x.device)
    assert backends.of(x) is backends.eager


@pytest.mark.skipif(torch.cuda.is_available(), reason="kernels work on a GPU")
@pytest.mark.parametrize(("group", "otherwise"), [
    (elementwise, "PyTorch computes the same instead"), (int8, "int8 is computed without them, which is slower")])
def test_kernels_that_do_not_work_are_logged_once(caplog, group, otherwise):
    device, prepare = torch.device("cuda", 7), getattr(group, "ready", None) or group.prepare
    with caplog.at_level(logging.WARNING):
        assert not prepare(device)
        assert not prepare(device)
    (line,) = caplog.messages
    assert "Triton kernels" in line
    assert line.endswith(f"); {otherwise}.")


def test_a_compiled_function_uses_the_backend_that_is_chosen(monkeypatch):
    x, y = torch.ones(1, 2, 8), torch.ones(1, 2, 8)
    compiled = torch.compile(elementwise.add_gated_, backend="eager", fullgraph=True)
    assert torch.all(compiled(x.clone(), y) == 2)
    other = SimpleNamespace(add_gated_=lambda x, y, gate: x.add_(y, alpha=2))
    monkeypatch.setitem(elementwise._BACKENDS.faster, x.device, other)
    assert torch.all(compiled(x.clone(), y) == 3)
