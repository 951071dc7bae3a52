"""A SCAIL-2 checkpoint of the real size with random weights, for `scail2 doctor` on a GPU: 33 GB in bfloat16.

    python tests/bench/random_checkpoint.py random_14b.safetensors [--layers 40]
    python -c "import sys; from scail_model.headless.cli import main; sys.exit(main())" \\
        doctor --scail_path random_14b.safetensors --json doctor.json

The weights are scaled as in `forward_gpu.py`, and are drawn and written one after the other.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from scail_model.config import TransformerConfig  # noqa: E402


def header(shapes: dict[str, tuple[int, ...]]) -> bytes:
    """Of a .safetensors file of bfloat16 tensors, padded as its format asks."""
    entries, offset = {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(entries).encode()
    return text + b" " * (-len(text) % 8)


def write(path: Path, config: TransformerConfig) -> None:
    shapes = config.parameter_shapes()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(0)
    head = header(shapes)
    with open(path, "wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name, shape in shapes.items():
            tensor = torch.randn(shape, generator=generator, device=device) * (0.02 if len(shape) > 1 else 0.1)
            if "norm" in name and name.endswith("weight"):
                tensor += 1
            file.write(tensor.bfloat16().view(torch.uint8).cpu().numpy().data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--layers", type=int, default=40)
    options = parser.parse_args()
    write(options.path, TransformerConfig(num_layers=options.layers))
    print(f"{options.path.stat().st_size / 1e9:.1f} GB in {options.path}")


if __name__ == "__main__":
    main()
