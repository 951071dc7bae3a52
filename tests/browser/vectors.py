"""Writes what the Python functions say that js/lib/plan.mjs repeats: [[function, arguments, result], ...] as JSON.

A result is {"error": text} where Python raises, and {"text": ...} where the page gives a problem and no error.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from scail_model import segments
from scail_model.config import TransformerConfig
from scail_model.geometry import check_size
from scail_model.kernels import chunks
from scail_model.preflight import budget, checks
from scail_model.preflight.budget import Work
from scail_model.video.plan_parser import parse_cuts

_H200 = budget.Machine(0, 0, 0, budget.H200_TFLOPS)
_GIB = 2**30
_CONFIGS = [TransformerConfig(), TransformerConfig(dim=256, ffn_dim=512, num_heads=2, num_layers=2)]
_RATES = ["16", "24", "25", "24000/1001", "30000/1001", "60", "29.97", "12.5"]
_CUTS = ["", "120", "120, 0:12.5", "15s", "0:0.03125 0:00.09375", "1:00:01.5,2:00:00", "5s 7.25s,9", "12.5", "find",
         "0:1.2.3", "s", "3;4", "-5", "0:04.0416667"]


def vectors() -> Iterator[tuple[str, list[Any], Any]]:
    """Random cases, the same ones in every run, and edges."""
    chance = random.Random(0)
    yield from _plans(chance)
    yield from _problems()
    yield from _costs(chance)
    for text in _CUTS:
        for rate in _RATES:
            yield "parseCuts", [text, rate if "." not in rate else float(rate)], _said(parse_cuts, text, Fraction(rate))
    for seconds in (1, 59.4, 59.6, 61, 89.9, 3000, 3599, 3600, 7265, 90061):
        if seconds < 59.5 or seconds >= 60:  # Python says "60 s" in between
            yield "duration", [seconds], checks._duration(seconds)


def _plans(chance: random.Random) -> Iterator[tuple[str, list[Any], Any]]:
    for _ in range(400):
        length = 4 * chance.randint(1, 30) + 1
        overlap = 4 * chance.randint(0, (length - 5) // 4) + 1
        total = chance.choice([1, length, length + 1, 2 * length - overlap, chance.randint(1, 1500)])
        lengths = chance.choice(segments.LENGTHS)
        plan = segments.plan_segments(total, length, overlap, lengths)
        yield "planSegments", [total, length, overlap, lengths], [asdict(segment) for segment in plan]
        cuts = [chance.randint(0, total) for _ in range(chance.randint(0, 4))]
        cuts = cuts if chance.random() < 0.2 else sorted(set(cuts) - {0, total})
        yield ("planScenes", [total, cuts, length, overlap, lengths],
               _said(lambda *given: [asdict(segment) for segment in segments.plan_scenes(*given)], total, cuts, length,
                     overlap, lengths))


def _problems() -> Iterator[tuple[str, list[Any], Any]]:
    for length in range(-3, 100):
        yield "lengthProblem", [length], _problem(segments.check_length, length)
    for length in (5, 9, 33, 81):
        for overlap in range(-2, length + 6):
            yield "overlapProblem", [overlap, length], _problem(segments.check_overlap, overlap, length)
    for value in range(-40, 200):
        yield "sizeProblem", ["width", value], _problem(check_size, value, 32)
        yield "sizeProblem", ["height", value], _problem(check_size, 32, value)
    for frames in range(1, 30):
        yield "paddedLength", [frames], segments.padded_length(frames)


def _costs(chance: random.Random) -> Iterator[tuple[str, list[Any], Any]]:
    for _ in range(200):
        width, height = 32 * chance.randint(1, 60), 32 * chance.randint(1, 60)
        frames, additional = [4 * chance.randint(0, 40) + 1 for _ in range(3)], chance.randint(0, 3)
        steps, guidance = chance.randint(1, 50), chance.choice([1.0, 5.0])
        config = chance.choice(_CONFIGS)
        model = {"dim": config.dim, "ffn_dim": config.ffn_dim, "layers": config.num_layers}
        tokens = budget.token_count(width, height, frames[0], additional)
        yield "tokenCount", [width, height, frames[0], additional], tokens
        batch, total = chance.choice([1, 2]), chance.choice([0, 8, 12, 24, 48, 140]) * _GIB
        yield "activationBytes", [config.dim, tokens, batch, total], _activations(config, tokens, batch, total)
        work = Work(config, width, height, tuple(frames), additional, steps, guidance, 0, width, height)
        given = {"width": width, "height": height, "lengths": frames, "additional": additional, "steps": steps,
                 "guidance": guidance}
        yield "videoSeconds", [model, given], budget.seconds(work, _H200)


def _activations(config: TransformerConfig, tokens: int, batch: int, total: int) -> float:
    rows = chunks.rows_at_once(tokens, config.dim, total, batch)
    if rows is None:
        return budget.activation_bytes(config, tokens, batch)
    embedding = budget._PROJECTION_BYTES * config.dim**2 + budget._STREAM_BYTES * batch * tokens * config.dim
    return max(chunks.chunked_bytes(tokens, config.dim, rows, batch), embedding)


def _said(function, *given) -> Any:
    try:
        return function(*given)
    except ValueError as error:
        return {"error": str(error)}


def _problem(function, *given) -> Any:
    said = _said(function, *given)
    return said and {"text": said["error"]}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(list(vectors())), encoding="utf-8")
