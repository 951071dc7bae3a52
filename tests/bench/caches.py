"""Many steps with few calls of the network: fewer steps, core's EasyCache, and forecasts, on the miniature.

    python tests/bench/caches.py COMFYUI_DIR [--clips 8] [--size 192] [--steps 40] [--guidance 1 5] [--device cuda]
        [--json FILE]

Every way makes the same clips of one person, with a word for the shirt, from the same noise. A row has the calls of the
network for each prompt, PSNR to the true video, in all and inside the people, and PSNR to the sample that made all
calls. EasyCache is core's own code, and decides for each clip by itself; its look at the change takes every second
latent pixel of these small clips, where on real ones it takes every eighth. The forecast is Spectrum's (arXiv
2603.01623): Chebyshev polynomials of the step's number are fitted to what the network's last block has given, by ridge
regression, and calls come ever more rarely. `of output` fits them to the network's answer, which takes an eightieth of
the memory.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "miniature")]

import measure  # noqa: E402
from miniature_cases import FRAMES, MODES, Bench, Rows  # noqa: E402
from miniature_models import Miniature, Sampling, Velocity  # noqa: E402
from world import WORDS  # noqa: E402

from scail_model.solvers import shifted  # noqa: E402

STEPS = (30, 24, 20, 16, 13, 11)
THRESHOLDS = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2)  # of EasyCache
GROWTHS = (0.0, 0.25, 0.75, 1.5, 3.0)  # of the distance between the forecast's calls: alpha in the paper
_SHIFT = 3.0
_SUBSAMPLED = 2


class Counted:
    """The network, whose calls are counted, called in turn for every prompt of a step."""

    def __init__(self, network: Velocity, prompts: int) -> None:
        self.network, self.prompts = network, prompts
        self.calls = self.asked = 0

    def __call__(self, x: Tensor, timestep: Tensor, text: Tensor, clip: None, **conditions: Any) -> Tensor:
        step, prompt = divmod(self.asked, self.prompts)
        self.asked += 1
        return self.answer(step, prompt, x, timestep, lambda x: self._called(x, timestep, text, conditions))

    def answer(self, step: int, prompt: int, x: Tensor, timestep: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
        return call(x)

    def _called(self, x: Tensor, timestep: Tensor, text: Tensor, conditions: dict[str, Any]) -> Tensor:
        self.calls += 1
        return self.network(x, timestep, text, None, **conditions)


class EasyCached(Counted):
    """Core's EasyCache with its node's settings."""

    def __init__(self, network: Velocity, prompts: int, threshold: float) -> None:
        from comfy_extras import nodes_easycache as core

        super().__init__(network, prompts)
        self.forward = core.easycache_forward_wrapper
        self.holder = core.EasyCacheHolder(threshold, 0.15, 0.95, _SUBSAMPLED, False, output_channels=16)
        self.holder.prepare_timesteps(self)

    def percent_to_sigma(self, percent: float) -> float:
        return shifted(1 - percent, _SHIFT)

    def answer(self, step: int, prompt: int, x: Tensor, timestep: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
        if prompt == 0:
            self.holder.skip_current_step = False
        options = {"easycache": self.holder, "sigmas": timestep / 1000, "uuids": [prompt]}
        return self.forward(lambda x, options: call(x), x.clone(), options)


class Forecast(Counted):
    """Spectrum: which steps call the network is settled beforehand. degree, ridge, warm_up and window are its
    authors'; blend: the share of the polynomials, beside the straight line through the last two calls."""

    def __init__(self, network: Any, prompts: int, steps: int, growth: float, blend: float, of_output: bool) -> None:
        super().__init__(network, prompts)
        self.steps, self.blend, self.of_output = steps, blend, of_output
        self.called = called_steps(steps, growth)
        self.past: list[list[Tensor]] = [[] for _ in range(prompts)]
        self.features: Tensor | None = None  # what the head gets in a call, or shall get

    def answer(self, step: int, prompt: int, x: Tensor, timestep: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
        past = self.past[prompt]
        if self.called[step]:
            with self.network.head.register_forward_pre_hook(self._keep):
                result = call(x)
            past.append(result if self.of_output or self.features is None else self.features)
            return result
        before = [number for number in range(step) if self.called[number]]
        weights = forecast_weights(before, step, self.steps, self.blend)
        expected = torch.stack([weight * one for weight, one in zip(weights, past, strict=True)]).sum(0)
        if self.of_output:
            return expected
        return self._head(expected, timestep, x.shape)

    def _keep(self, head: Any, arguments: tuple) -> None:
        self.features = arguments[0]

    def _head(self, features: Tensor, timestep: Tensor, shape: torch.Size) -> Tensor:
        from einops import rearrange

        embedding, _ = self.network.embed_time(timestep.reshape(-1).expand(shape[0]))
        return rearrange(self.network.head(features, embedding), "b (t h w) (p q c) -> b c t (h p) (w q)", t=shape[2],
                         h=shape[3] // 2, p=2, q=2)


def called_steps(steps: int, growth: float, warm_up: int = 5, window: float = 2.0) -> list[bool]:
    """Spectrum's schedule: after the first steps every second one, later ever fewer."""
    called, skipped = [], 0
    for step in range(steps):
        calls = step < warm_up or (skipped + 1) % math.floor(window) == 0
        if calls and step >= warm_up:
            window += growth
        skipped = 0 if calls else skipped + 1
        called.append(calls)
    return called


def forecast_weights(before: list[int], step: int, steps: int, blend: float, degree: int = 4,
                     ridge: float = 0.1) -> list[float]:
    """The forecast as a sum over the calls before: the weight of each."""

    def basis(numbers: list[int]) -> Tensor:
        place = torch.tensor(numbers, dtype=torch.float64) * 2 / steps - 1
        return torch.cos(torch.arange(degree + 1) * torch.acos(place.clamp(-1, 1))[:, None])  # [numbers, degree + 1]

    known = basis(before)
    polynomial = basis([step]) @ torch.linalg.solve(known.T @ known + ridge * torch.eye(degree + 1), known.T)
    line = torch.zeros(1, len(before), dtype=torch.float64)
    ahead = (step - before[-1]) / (before[-1] - before[-2])
    line[0, -1], line[0, -2] = 1 + ahead, -ahead
    return (blend * polynomial + (1 - blend) * line)[0].tolist()


def ways(network: Any, prompts: int, steps: int) -> dict[str, tuple[Sampling, Callable[[], Counted], bool]]:
    """By name: settings, what answers, and whether each clip is made by itself."""
    guidance = 1.0 if prompts == 1 else 5.0
    all_steps = Sampling("unipc", steps, _SHIFT, guidance)
    found: dict[str, tuple[Sampling, Callable[[], Counted], bool]] = {
        f"{fewer} steps": (Sampling("unipc", fewer, _SHIFT, guidance), lambda: Counted(network, prompts), False)
        for fewer in STEPS}
    for threshold in THRESHOLDS:
        found[f"EasyCache {threshold:g}"] = (
            all_steps, lambda threshold=threshold: EasyCached(network, prompts, threshold), True)
    for growth in GROWTHS:
        for blend in (1.0, 0.5):
            for of_output in (False, True):
                found[f"forecast{' of output' * of_output} {growth:g}, {blend:g}"] = (
                    all_steps, lambda growth=growth, blend=blend, of_output=of_output: Forecast(
                        network, prompts, steps, growth, blend, of_output), False)
    return found


def one_mode(bench: Bench, mode: str, guidance: float, size: int, steps: int) -> dict[str, dict[str, float]]:
    rows, miniature, prompts = Rows(), bench.miniature, 1 if guidance == 1 else 2
    for seed, scenes, pictures in bench.batches(300 + MODES[mode], bench.clips, 1, MODES[mode], height=size,
                                                width=size, word_share=1.0):
        conditions = miniature.conditions(pictures, MODES[mode])
        words = [list(WORDS)[word] for word in scenes.word.tolist()]
        whole = miniature.make(conditions, seed, Sampling("unipc", steps, _SHIFT, guidance), prompts=words)
        rows.add(f"{steps} steps", calls=torch.full((len(whole),), float(steps)), **measure.score(whole, pictures))
        for name, (sampling, answering, alone) in ways(miniature.transformer, prompts, steps).items():
            made, calls = made_by(miniature, conditions, words, seed, sampling, answering, alone)
            rows.add(name, calls=calls / prompts, **measure.score(made, pictures),
                     to_whole=measure.decibels((made - whole).square().mean((1, 2, 3, 4))))
    return rows.table()


def made_by(miniature: Miniature, conditions: dict[str, Any], words: list[str], seed: int, sampling: Sampling,
            answering: Callable[[], Counted], alone: bool) -> tuple[Tensor, Tensor]:
    """(videos [n, T, 3, H, W], calls [n])."""
    if not alone:
        answers = answering()
        made = miniature.make(conditions, seed, sampling, prompts=words, velocity=answers)
        return made, torch.full((len(words),), float(answers.calls))
    made, calls = [], []
    for clip in range(len(words)):
        answers = Alone(answering, clip)
        made.append(miniature.make(conditions, seed, sampling, prompts=words, velocity=answers)[clip])
        calls.append(answers.counted.calls)
    return torch.stack(made), torch.tensor(calls, dtype=torch.float32)


class Alone:
    """Answers for one clip of a batch, with zeros for the others, so that its noise is the batch's."""

    def __init__(self, answering: Callable[[], Counted], clip: int) -> None:
        self.counted, self.clip = answering(), clip

    def __call__(self, x: Tensor, timestep: Tensor, text: Tensor, clip: None, **conditions: Any) -> Tensor:
        at = slice(self.clip, self.clip + 1)
        one = {name: value[at] if torch.is_tensor(value) else value for name, value in conditions.items()}
        answer = torch.zeros_like(x)
        answer[at] = self.counted(x[at], timestep, text[at], clip, **one)
        return answer


def shown(title: str, table: dict[str, dict[str, float]]) -> str:
    lines = [title, f"{'':32}{'calls':>7}{'whole':>8}{'people':>8}{'to all':>8}"]
    for name, row in sorted(table.items(), key=lambda entry: (entry[0].split()[0].isdigit(), -entry[1]["calls"])):
        lines.append(f"{name:32}{row['calls']:7.1f}{row['psnr']:8.2f}{row['psnr_inside']:8.2f}"
                     f"{row.get('to_whole', math.inf):8.2f}")
    return "\n".join(lines) + "\n"


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("comfyui", help="a ComfyUI checkout")
    parser.add_argument("--folder", type=Path, default=TESTS / "miniature", help="where the weights are")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 5.0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, options.comfyui)
    sys.argv = sys.argv[:1]
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = options.device == "cpu"
    bench = Bench(Miniature(options.folder, torch.device(options.device)), options.clips, 0)
    report: dict[str, Any] = {"clips": options.clips, "size": options.size, "frames": FRAMES, "tables": {}}
    for mode in MODES:
        for guidance in options.guidance:
            title = f"{mode}, guidance {guidance:g}"
            table = report["tables"][title] = one_mode(bench, mode, guidance, options.size, options.steps)
            print(shown(title, table), flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
