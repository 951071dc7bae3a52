"""Which linears may be int8: the error of a 14B network's output, by what is stored in 8 bits.

    python tests/bench/sensitivity_gpu.py [--layers 40] [--json FILE]

Random bfloat16 weights, one small video. For every kind of linear alone in all blocks, then for the feed-forwards from
one block on, and for the choice of `scail_model/precision.py`: relative L2 error of a forward against the same weights
in bfloat16, and of both against float32. Needs a CUDA GPU with 70 GB for 40 layers; nothing of ComfyUI.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from forward_gpu import random_inputs, random_weights

sys.path.insert(0, str(Path(__file__).parents[2]))

from scail_model.config import TransformerConfig  # noqa: E402
from scail_model.kernels.linears import QuantizingInt8  # noqa: E402
from scail_model.kernels.precision import int8_linears  # noqa: E402
from scail_model.transformer import SCAIL2Transformer  # noqa: E402

SIZE = (256, 256, 33)
KINDS = ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "cross_attn.q", "cross_attn.o", "ffn.0", "ffn.2")
FIRST = (0, 4, 8, 10, 12, 14, 16, 20)


def cases(layers: int) -> dict[str, list[str]]:
    """Names of the linears in int8, by what to call it."""
    def names(kind: str, first: int = 0) -> list[str]:
        return [f"blocks.{block}.{kind}" for block in range(first, layers)]

    small = [name for kind in KINDS[:6] for name in names(kind)]
    found = {f"{kind} alone": names(kind) for kind in KINDS}
    found["all of attention"] = small
    found |= {f"{kind} from block {first}": names(kind, first) for kind in KINDS[6:] for first in FIRST[1:]}
    found["everything"] = small + names("ffn.0") + names("ffn.2")
    found |= {f"everything, feed-forward from block {first}": small + names("ffn.0", first) + names("ffn.2", first)
              for first in FIRST[1:]}
    found["the 8-bit mode"] = int8_linears(layers)
    return found


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    config = TransformerConfig(num_layers=options.layers)
    weights, inputs, int8 = random_weights(config), random_inputs(*SIZE), QuantizingInt8()
    network = SCAIL2Transformer(config, linears=int8, device="meta")
    network.load_state_dict(weights, assign=True)
    network.requires_grad_(False)
    exact = network(**inputs)
    errors = {}
    for name, linears in cases(options.layers).items():
        int8.quantize(network, linears)
        errors[name] = float((network(**inputs) - exact).norm() / exact.norm())
        print(f"{errors[name]:.4f}  {name}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"gpu": torch.cuda.get_device_name(), "layers": options.layers,
                                            "error": errors}, indent=1) + "\n")


if __name__ == "__main__":
    main()
