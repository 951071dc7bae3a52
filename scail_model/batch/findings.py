"""What a check of all rows has found, as text for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from ..preflight.budget import duration
from ..preflight.memory_checks import gib
from .checks import Checked
from .costs import CARDS, Card, Estimate, in_hours, total
from .manifest import Manifest, several
from .report import cost_of

_LISTED = 200  # rows in the table; of more, only the sum is shown


def as_text(manifest: Manifest, checked: Sequence[Checked], card: Card | None, price: float | None) -> str:
    """Everything there is to say, errors last, where a terminal ends."""
    known = [row for row in checked if row.estimate is not None and not row.errors]
    lines = [_heading(manifest, checked), *_table(known, card, price), *_sum(known, card, price)]
    lines += _grouped("not estimated", ((row, f"{row.unknown}.") for row in checked if row.unknown and not row.errors))
    lines += _grouped("warning", ((row, text) for row in checked for text in row.warnings))
    errors = [*(f"error: {text}" for text in manifest.faults),
              *_grouped("error", ((row, text) for row in checked for text in row.errors))]
    return "\n".join((*lines, *errors, f"{len(errors)} errors" if len(errors) != 1 else "1 error"))


def as_json(manifest: Manifest, checked: Sequence[Checked], card: Card | None, price: float | None) -> str:
    """{"ok", "manifest", "faults", "card", "gpu_hour_price", "rows", "total" of the rows without errors};
    seconds and costs are null where they are not known."""
    estimates = [row.estimate for row in checked if row.estimate is not None and not row.errors]
    summed = total(estimates, card)
    ok = not manifest.faults and not any(row.errors for row in checked)
    return json.dumps({
        "ok": ok, "manifest": str(manifest.path), "faults": list(manifest.faults),
        "card": None if card is None else asdict(card), "gpu_hour_price": price,
        "rows": [_values(row, card, price) for row in checked],
        "total": {**asdict(summed), "seconds": summed.seconds if card else None,
                  "cost": summed.cost(price) if card else None}}, indent=1, ensure_ascii=False)


def _values(checked: Checked, card: Card | None, price: float | None) -> dict:
    row, estimate = checked.row, checked.estimate
    found = None
    if estimate is not None:
        seconds = estimate.seconds(card) if card else None
        found = {**estimate.values(), "seconds": seconds, "cost": cost_of(seconds, price)}
    return {"id": row.id, "place": row.place, "workflow": None if row.workflow is None else str(row.workflow),
            "errors": list(checked.errors), "warnings": list(checked.warnings), "estimate": found,
            "unknown": checked.unknown or None}


def _heading(manifest: Manifest, checked: Sequence[Checked]) -> str:
    comfy = sum(row.row.workflow is not None for row in checked)
    return (f"{manifest.path}: {len(checked)} rows, {comfy} with a workflow, {len(checked) - comfy} of the command "
            "line")


def _table(known: Sequence[Checked], card: Card | None, price: float | None) -> Iterator[str]:
    if not known or len(known) > _LISTED:
        return
    head = ["row", "frames", "segments", "GPU memory", "disk", *(["GPU time"] if card and card.tflops else []),
            *(["cost"] if card and card.tflops and price is not None else [])]
    rows = [head, *(_cells(row.row.id, row.estimate, card, price)[:len(head)] for row in known if row.estimate)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        yield "  ".join(cell.ljust(width) if not column else cell.rjust(width)
                        for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()


def _cells(id: str, estimate: Estimate, card: Card | None, price: float | None) -> list[str]:
    seconds = estimate.seconds(card) if card else None
    each = "" if seconds is None or estimate.gpus == 1 else f" ({estimate.gpus} x {duration(seconds / estimate.gpus)})"
    return [id, str(estimate.frames), str(estimate.segments), gib(estimate.vram), gib(estimate.disk),
            "" if seconds is None else f"{duration(seconds)}{each}", f"{cost_of(seconds, price) or 0:.2f}"]


def _sum(known: Sequence[Checked], card: Card | None, price: float | None) -> Iterator[str]:
    if not known:
        return
    found = total([row.estimate for row in known if row.estimate], card)
    yield (f"{found.rows} rows together: {found.frames} frames in {found.segments} segments; GPU memory up to "
           f"{gib(found.vram)}, or {gib(found.whole)} with all weights on it; main memory up to {gib(found.ram)} for "
           f"the frames of a segment; {gib(found.disk)} of disk for the job folders")
    measured = ", ".join(each.name for each in CARDS)
    if card is None:
        yield f"time is not estimated, because this machine has no GPU: name one with --card ({measured})"
    elif found.seconds is None:
        yield f"time is not estimated, because no {card.name} was measured: name one of {measured} with --card"
    else:
        cost = found.cost(price)
        yield (f"about {in_hours(found.seconds)} GPU-hours on {card.name}, without loading models"
               f"{'' if cost is None else f', {cost:.2f} at {price:g} an hour'}")


def _grouped(level: str, found: Iterator[tuple[Checked, str]]) -> Iterator[str]:
    """Equal sentences of several rows once."""
    places: dict[str, list[str]] = {}
    for row, text in found:
        places.setdefault(text, []).append(row.row.place)
    for text, where in places.items():
        yield f"{level}: {several(where)}: {text}"
