"""What is wrong with an API workflow, by a server's /object_info. The server itself lets misspelt inputs pass."""

from __future__ import annotations

from typing import Any

from .graph import growing, is_widget, sockets_and_widgets, variants

_FILES = (".safetensors", ".torchscript", ".png", ".jpg", ".mp4")
# asked for by other versions, which name the input before the dot or the dotted one; a server without it lets it pass
_FOR_OTHER_VERSIONS = {("SaveVideo", "format.codec")}


def problems(prompt: dict[str, dict], object_info: dict) -> list[str]:
    """One line per problem: unknown nodes and inputs, missing and impossible values, links of the wrong type."""
    found = []
    for name, node in prompt.items():
        info = object_info.get(node["class_type"])
        if info is None:
            found.append(f"{name}: no node {node['class_type']}")
            continue
        specs = _specs(info, node["inputs"])
        missing = set(_required(info, node["inputs"])) - set(node["inputs"])
        found += [f"{name} {node['class_type']}: {key} is missing" for key in sorted(missing)]
        for key, value in node["inputs"].items():
            if key not in specs and (node["class_type"], key) in _FOR_OTHER_VERSIONS:
                continue
            problem = _problem(value, specs.get(key), prompt, object_info)
            if problem:
                found.append(f"{name} {node['class_type']}.{key}: {problem}")
    return found


def _specs(info: dict, inputs: dict) -> dict[str, list]:
    """Input name -> spec, with the parts of growing inputs that are used and those that a choice asks for."""
    specs = {}
    for name, spec in sockets_and_widgets(info).items():
        specs |= _parts(name, spec, inputs)
    return specs


def _parts(name: str, spec: list, inputs: dict) -> dict[str, list]:
    grown, choices = growing(name, spec), variants(spec)
    if grown is not None:
        return {part: [grown.kind, {}] for part in grown.parts if part in inputs}
    if choices is None:
        return {name: spec}
    specs = {name: ["COMBO", {"options": list(choices)}]}
    for part, inner in sockets_and_widgets(choices.get(inputs.get(name), {"input": {}})).items():
        specs |= _parts(f"{name}.{part}", inner, inputs)
    return specs


def _required(info: dict, inputs: dict, prefix: str = "") -> list[str]:
    names = []
    for name, spec in info["input"].get("required", {}).items():
        grown, choices = growing(name, spec), variants(spec)
        names += [f"{prefix}{name}"] if grown is None else grown.parts[: grown.least]
        if choices is not None and inputs.get(f"{prefix}{name}") in choices:
            names += _required(choices[inputs[f"{prefix}{name}"]], inputs, f"{prefix}{name}.")
    return names


def _problem(value: Any, spec: list | None, prompt: dict, object_info: dict) -> str | None:
    if spec is None:
        return "no such input"
    if isinstance(value, list):
        return _link_problem(value, spec, prompt, object_info)
    if not is_widget(spec):
        return f"{value!r} where a link must be"
    return _value_problem(value, spec[0], spec[1] if len(spec) > 1 else {})


def _link_problem(link: list, spec: list, prompt: dict, object_info: dict) -> str | None:
    source = prompt.get(link[0])
    if source is None:
        return f"linked to {link[0]}, which is not there"
    outputs = object_info[source["class_type"]]["output"]
    if not 0 <= link[1] < len(outputs):
        return f"linked to output {link[1]} of {len(outputs)}"
    accepted = spec[0].split(",") if isinstance(spec[0], str) else ["COMBO"]
    if "*" not in accepted and outputs[link[1]] not in accepted:
        return f"takes {spec[0]}, not {outputs[link[1]]}"
    return None


def _value_problem(value: Any, kind: str | list, options: dict) -> str | None:
    if isinstance(kind, list) or kind == "COMBO":
        choices = kind if isinstance(kind, list) else options["options"]
        is_file = isinstance(value, str) and value.endswith(_FILES)
        return None if is_file or value in choices else f"{value!r} is not in {choices}"
    types = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}[kind]
    if not isinstance(value, types) or (kind != "BOOLEAN" and isinstance(value, bool)):
        return f"{value!r} is not {kind}"
    return _number_problem(value, options) if kind in ("INT", "FLOAT") else None


def _number_problem(value: float, options: dict) -> str | None:
    low, high, step = options.get("min", value), options.get("max", value), options.get("step")
    if not low <= value <= high:
        return f"{value} is not in {low}..{high}"
    if step:
        steps = (value - low) / step
        if abs(steps - round(steps)) > 1e-6:
            return f"{value} is not {low} plus a multiple of {step}"
    return None
