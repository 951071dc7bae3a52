"""Train the miniature from nothing, in four runs on one GPU; each goes on where it was stopped.

    python tests/miniature/train.py vae         FOLDER [--steps N] [--seconds N] [--seed N]
    python tests/miniature/train.py transformer FOLDER ...   reads FOLDER/nano_vae.safetensors
    python tests/miniature/train.py lora        FOLDER ...   reads both
    python tests/miniature/train.py long        FOLDER ...   reads both

A run ends when its steps are done, or with --seconds when the time is up; the same command then goes on, because
FOLDER holds its checkpoint. The rate follows the steps, so give the same --steps each time.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

import optimise  # noqa: E402
import train_long  # noqa: E402
import train_lora  # noqa: E402
import train_transformer  # noqa: E402
import train_vae  # noqa: E402

# with the steps that the files in this folder had
RUNS = {"vae": (train_vae, 9_233), "transformer": (train_transformer, 35_763), "lora": (train_lora, 4_233),
        "long": (train_long, 1_703)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the miniature SCAIL-2.")
    parser.add_argument("what", choices=RUNS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, help="of the whole run (default: as the miniature was trained); "
                                                  "0: as many as fit into --seconds, which it prints")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after these and keep the state")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="a few numbers, to try the command on a CPU")
    parser.add_argument("--plain", action="store_true", help="without CUDA graphs")
    arguments = parser.parse_args()
    optimise.Recorded.enabled = not arguments.plain
    module, steps = RUNS[arguments.what]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    steps = {None: steps, 0: optimise.FIT}.get(arguments.steps, arguments.steps)
    done = module.train(module.SMALL if arguments.small else module.Plan(), arguments.folder, steps,
                        arguments.seconds, arguments.seed, device)
    sys.stdout.write("done\n" if done else "stopped; the same command goes on\n")


if __name__ == "__main__":
    main()
