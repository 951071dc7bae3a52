"""Findings of a check: errors that stop a run, warnings and facts; and how they are reported."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

ERROR, WARNING, FACT = "error", "warning", "fact"
_REPORTED = ("assumed", "picked", "driven", "poses", "draft", "crop")
_HEADINGS = {ERROR: "Errors", WARNING: "Warnings", FACT: "Facts"}

# Finding code -> the input of the check and sampler nodes that it is about, if there is one.
_INPUTS = {
    "driving_mask_frames": "identities", "driving_mask_shape": "identities", "coincide": "identities",
    "hidden": "identities", "unseen": "identities", "nobody": "identities", "hole": "identities",
    "merged": "identities", "exchanged": "identities", "jump": "identities", "cut": "scene_cuts",
    "whole_picture": "identities", "people": "identities", "animal": "identities",
    "mode": "identities",
    "poses": "driving", "poses_masks": "identities", "poses_mode": "identities", "poses_size": "reference",
    "thin": "identities", "tiny": "driving", "small": "driving", "crop": "driving",
    "driving_crop": "driving", "driving_size": "driving", "driving": "driving",
    "driving_file": "driving", "busy_background": "driving_background",
    "reference_count": "reference", "reference_mode": "reference", "reference_masks": "reference",
    "reference_file": "reference", "reference_crop": "reference", "result_size": "reference", "scale": "reference",
    "longest": "segment_length", "weights": "model", "gpus": "model", "scenes": "scene_cuts",
    "fewer_gpus": "model", "many_gpus": "model", "model": "model",
    "vae": "vae", "vae_vram": "reference", "vram": "reference", "ram": "segment_length",
    "prompt": "positive", "prompts": "positive", "guidance": "guidance", "steps": "steps", "sampling": "steps",
    "segments": "segment_length", "segment_length": "segment_length", "overlap": "overlap",
    "model_sampling": "shift", "sampler": "sampler", "sigmas": "sigmas",
    "colour_match": "colour_match", "plan": "plan", "scene_cuts": "scene_cuts", "disk": "codec",
    "rate": "rate", "picked": "rate", "assumed": "fps", "driven": "driving_end",
    "draft": "draft", "full_time": "draft", "attention": "model", "sparse": "sparse_density",
    "sparse_density": "sparse_density", "sparse_error": "sparse_error", "plate": "plate",
    "plate_little": "plate_grow", "plate_straight": "identities", "plate_size": "reference", "uncovered": "plate",
    "plate_background": "driving_background", "plate_grow": "plate_grow", "plate_feather": "plate_feather",
    "plate_person": "plate_person", "plate_masks": "plate_masks",
    "negative_strength": "negative_strength",
}


@dataclass(frozen=True)
class Finding:
    """level: "error", "warning" or "fact". code: one word for programs. text: one sentence that names the input, the
    value and, except for facts, the remedy."""

    level: str
    code: str
    text: str

    @property
    def input(self) -> str | None:
        """The input that the finding is about, or None."""
        return _INPUTS.get(self.code)


def error(code: str, text: str) -> Finding:
    return Finding(ERROR, code, text)


def warning(code: str, text: str) -> Finding:
    return Finding(WARNING, code, text)


def fact(code: str, text: str) -> Finding:
    return Finding(FACT, code, text)


def attempt(code: str, check: Callable[..., Any], *arguments: Any) -> list[Finding]:
    """Run a check that raises ValueError; return its error as a finding, or an empty list."""
    try:
        check(*arguments)
    except ValueError as refusal:
        return [error(code, str(refusal))]
    return []


def of_level(findings: Sequence[Finding], level: str) -> list[Finding]:
    """The findings of one level, in order."""
    return [finding for finding in findings if finding.level == level]


def reported(findings: Sequence[Finding]) -> list[Finding]:
    """Facts that belong into the report of a run: what was read and followed otherwise than usual."""
    return [finding for finding in of_level(findings, FACT) if finding.code in _REPORTED]


def refuse(findings: Sequence[Finding], all_of_them: str = "Check SCAIL-2 Inputs") -> None:
    """Raise ValueError with the first error, if any, the number of others, and what shows them all."""
    errors = of_level(findings, ERROR)
    if errors:
        more = f" (and {len(errors) - 1} more: see {all_of_them}.)" if len(errors) > 1 else ""
        raise ValueError(errors[0].text + more)


def report(findings: Sequence[Finding]) -> str:
    """Text for people: errors, warnings and facts under headings with their counts; empty levels are omitted."""
    parts = []
    for level, heading in _HEADINGS.items():
        if listed := of_level(findings, level):
            parts.append("\n".join((f"{heading} ({len(listed)})", *(f"- {finding.text}" for finding in listed))))
    return "\n\n".join(parts)


def as_rows(findings: Sequence[Finding]) -> list[dict[str, str | None]]:
    """Rows for the page: errors, warnings and facts, each {"level", "code", "text", "input"}."""
    return [{"level": level, "code": finding.code, "text": finding.text, "input": finding.input}
            for level in _HEADINGS for finding in of_level(findings, level)]


def as_json(findings: Sequence[Finding]) -> str:
    """JSON for programs: see `as_values`."""
    return json.dumps(as_values(findings), ensure_ascii=False, indent=1)


def as_values(findings: Sequence[Finding]) -> dict[str, Any]:
    """{"ok": bool, "errors": [...], "warnings": [...], "facts": [...]}, each {"code", "text"}."""
    lists = {f"{level}s": [{"code": finding.code, "text": finding.text} for finding in of_level(findings, level)]
             for level in _HEADINGS}
    return {"ok": not lists["errors"], **lists}
