"""A file's weights are in memory once: mapped from the file, adopted by the network."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import torch
from safetensors.torch import save_file

from scail_model.config import TransformerConfig

CONFIG = TransformerConfig(dim=1024, ffn_dim=4096, num_heads=8, num_layers=6)

# a process of its own, so that nothing else moves the memory figures
SCRIPT = """
    import json, sys
    import torch
    from scail_model.checkpoint import load_checkpoint
    from scail_model.config import TransformerConfig
    from scail_model.transformer import SCAIL2Transformer

    def private_bytes():
        status = open("/proc/self/status").read()
        return 1024 * int(status.split("RssAnon:")[1].split()[0])

    SCAIL2Transformer(TransformerConfig(dim=128, num_heads=1, num_layers=1), device="meta")
    before = private_bytes()
    state_dict, _ = load_checkpoint(sys.argv[1])
    model = SCAIL2Transformer(TransformerConfig.from_state_dict(state_dict), device="meta")
    model.load_state_dict(state_dict, assign=True)
    with torch.no_grad():
        touched = sum(float(p.float().sum()) for p in model.parameters())  # every page is read
    print(json.dumps({"growth": private_bytes() - before, "dtype": str(model.dtype), "sum": touched}))
"""


def test_loading_makes_no_second_copy(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator).bfloat16()
               for name, shape in CONFIG.parameter_shapes().items()}
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    size = path.stat().st_size
    assert size > 200e6
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT), str(path)], capture_output=True, text=True,
                            cwd=Path(__file__).parents[2], timeout=120)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["dtype"] == "torch.bfloat16"
    assert abs(report["sum"] - sum(float(t.float().sum()) for t in tensors.values())) < 1
    assert report["growth"] < 0.2 * size  # one float32 copy of the largest tensor is part of the reading above
