"""The doctor's values as one page of text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .forwards import MEASURED
from .model_files import MISSING, WHOLE

_WIDTH = 110
_TOLD_LAYERS = 10
_NOT_KNOWN = "-"
_AS_ASKED = "as asked"  # a reason that tells nothing here: the doctor has asked

Values = Mapping[str, Any]


def text(values: Values) -> str:
    """Of what `Report.values` has, complete or not."""
    sections = [_head(values), _machine(values), _files(values), _forwards(values)]
    return "\n\n".join("\n".join(lines) for lines in map(list, sections) if lines)


def _head(values: Values) -> Iterator[str]:
    stopped = "" if values["complete"] else ", stopped before its end"
    yield f"SCAIL-2 doctor, {values['date']}, {values['host']}{stopped}"
    if values["ok"]:
        yield "Nothing is wrong." if values["complete"] else "Nothing wrong was found so far."
        return
    yield f"Wrong ({len(values['wrong'])}):"
    for sentence in values["wrong"]:
        yield from _wrapped(sentence, "- ", "  ")


def _machine(values: Values) -> Iterator[str]:
    if versions := values["versions"]:
        yield from _row("versions", ", ".join(f"{name} {version}" for name, version in versions.items()))
    if values["settings"]:
        yield from _row("settings", ", ".join(f"{name} {value}" for name, value in values["settings"].items()))
    if system := values["system"]:
        yield from _row("system", f"{system['name']} {system['release']}, {system['machine']}, {system['cores']} cores")
    if values["memory"]:
        yield from _row("memory", f"{_gib(values['memory']['free'])} of {_gib(values['memory']['total'])} free, swap "
                                  f"{_gib(values['memory']['swap'])}")
    if values["disks"]:
        yield from _row("disks", ", ".join(f"{name}: {_gib(disk['free'])} of {_gib(disk['total'])} free"
                                           for name, disk in values["disks"].items()))
    if card := values["card"]:
        speed = "" if card["matmul_tflops"] is None else f", {card['matmul_tflops']:g} TFLOP/s in a bfloat16 product"
        more = f", the first of {card['cards']}" if card["cards"] > 1 else ""
        yield from _row("card", f"{card['name']}{more}, compute capability {card['compute_capability']}, "
                                f"{_gib(card['free'])} of {_gib(card['memory'])} free{speed}")
    elif values["device"] == "cpu":
        yield from _row("card", "none that PyTorch can use; times of a CPU mean little")
    else:
        yield from _row("card", f"{values['device']}, of which PyTorch tells no more")
    if gpus := values["gpus"]:
        yield from _gpus(gpus)
    if link := values["link"]:
        yield from _row("link", f"main memory to card {link['pinned'] / 1e9:.1f} GB/s from pinned memory, "
                                f"{link['usual'] / 1e9:.1f} from usual memory")


def _gpus(gpus: Values) -> Iterator[str]:
    """Several GPUs: what they are, what travels between them, and what they bring."""
    names = [card["name"] for card in gpus["cards"]]
    yield from _row("GPUs", ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)))
    rates = [pair["rate"] / 1e9 for pair in gpus["pairs"] if pair["rate"] is not None]
    if rates:
        least, most = (f"{rate:.0f}" for rate in (min(rates), max(rates)))
        between = least if least == most else f"{least} to {most}"
        link = gpus["link"] if gpus["together"] > 2 else None
        together = "" if link is None else f"; {link / 1e9:.0f} from each while {gpus['together']} send"
        yield from _row("", f"{between} GB/s between two of them, each way{together}")
    for reason in dict.fromkeys(pair["apart"] for pair in gpus["pairs"] if pair["apart"]):
        first, *more = [" and ".join(pair["devices"]) for pair in gpus["pairs"] if pair["apart"] == reason]
        yield from _row("", f"{reason} between {first}{f', and in {len(more)} more pairs' if more else ''}")
    yield from _row("", gpus["fewer"] or f"{_all(gpus['together'])} can make one video")
    if gpus["gain"]:
        gain = ", ".join(f"{times:g} with {count}" for count, times in gpus["gain"].items())
        yield from _row("", f"times as fast as one, reckoned for {gpus['size']}: {gain}")


def _all(count: int) -> str:
    return "both" if count == 2 else f"all {count}"


def _files(values: Values) -> Iterator[str]:
    if not values["files"]:
        return
    yield "Model files"
    for fact in values["files"]:
        size = "" if fact["bytes"] is None else f" ({fact['bytes'] / 1e9:.3g} GB)"
        state = "" if fact["state"] in (WHOLE, MISSING) else f"{fact['state']}: "
        name = f"{fact['name']}{size}: " if fact["name"] else ""
        yield from _row(fact["role"], f"{name}{state}{fact['text']}")


def _forwards(values: Values) -> Iterator[str]:
    found = values["forwards"]
    if found is None:
        if values["complete"]:
            failed = any(sentence.startswith("forwards ") for sentence in values["wrong"])
            yield ("No forward was measured: what is wrong is said above." if failed else
                   "No forward was measured: no weights are chosen, or none are there.")
        return
    if "size" not in found:
        return
    size = found["size"]
    yield from _wrapped(
        f"One forward of {found['file']}, {size['width']}x{size['height']}, {size['frames']} frames, "
        f"{found['tokens']:,} tokens, noise level {found['sigma']:g}, random inputs; median of three, memory beside "
        "the weights, difference as relative L2")
    for mode in found["modes"]:
        yield from _mode(mode)
    yield from _keys(found)
    yield from _layers(found)


def _mode(mode: Values) -> Iterator[str]:
    if mode["state"] != MEASURED:
        yield from _row(mode["mode"], f"{mode['state']}: {mode['reason']}")
        return
    memory = "" if mode["bytes"] is None else (
        f", {_gib(mode['bytes'])} ({_gib(mode['estimated_bytes'])} estimated)")
    estimated = "" if mode["estimated_seconds"] is None else f" ({_seconds(mode['estimated_seconds'])} estimated)"
    off = "" if mode["difference"] is None else f", {_percent(mode['difference'])} from exact"
    reason = f" ({mode['reason']})" if mode["reason"] not in ("", _AS_ASKED) else ""
    finite = "" if mode["finite"] else ", NaN or infinite numbers"
    yield from _row(mode["mode"], f"{_seconds(mode['median_seconds'])}{estimated}{memory}{off}{finite}; weights "
                                  f"{mode['weights']}, computed in {mode['dtype']}, attention {mode['attention']}"
                                  f"{_density(mode)}{reason}")


def _density(mode: Values) -> str:
    """How much of sparse attention is computed, and how well its error is known."""
    known = [density for density in mode.get("densities", []) if density is not None]
    if not known:
        return ", of which all is computed at this size" if "densities" in mode else ""
    near, estimated = mode["near"]
    return (f", of which {_percent(sum(known) / len(known))} is computed, in {sum(each == 1 for each in known)} of "
            f"{len(known)} layers all; error estimated within 20 % in {near} of the other {estimated}")


def _keys(found: Values) -> Iterator[str]:
    large, limit = found["large_keys"], found["largest_keys"]
    if large is None:
        return
    sizes = next([size or 0 for size in mode["key_sizes"]] for mode in found["modes"] if mode.get("key_sizes"))
    which = f" (block {_list(large)}), which attention in 8 bits leaves to exact attention" if large else ""
    yield from _row("keys", f"{len(large)} of {len(sizes)} blocks have keys above {limit:g}{which}; sizes "
                            f"{min(sizes):.2f} to {max(sizes):.2f}")


def _layers(found: Values) -> Iterator[str]:
    """Each mode's error after some of the layers, the last among them."""
    others = [mode for mode in found["modes"] if mode.get("stream_errors")]
    if not others:
        return
    count = len(others[0]["stream_errors"])
    told = sorted({round(part * (count - 1) / (_TOLD_LAYERS - 1)) for part in range(_TOLD_LAYERS)})
    yield ""
    yield "Error by layer, in %: of the stream after it, and of its attention to the same keys and values"
    yield from _line_of("layer", [str(layer) for layer in told])
    for mode in others:
        for what, key in (("stream", "stream_errors"), ("attention", "attention_errors"),
                          ("estimated", "estimated_errors")):
            errors = mode.get(key) or []
            if any(error is not None for error in errors):
                yield from _line_of(f"{mode['mode']}, {what}", [_cell(errors[layer]) for layer in told])


def _line_of(name: str, cells: Sequence[str]) -> Iterator[str]:
    yield f"  {name:25}" + "".join(f"{cell:>8}" for cell in cells)


def _cell(error: float | None) -> str:
    return _NOT_KNOWN if error is None else f"{100 * error:.2f}"


def _row(name: str, what: str) -> Iterator[str]:
    yield from _wrapped(what, f"  {name:15}", " " * 17)


def _wrapped(what: str, first: str = "", others: str = "") -> Iterator[str]:
    yield from textwrap.wrap(what, _WIDTH, initial_indent=first, subsequent_indent=others, break_long_words=False,
                             break_on_hyphens=False)


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s"
