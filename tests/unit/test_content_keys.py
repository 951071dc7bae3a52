"""Digests: the same in every process, and another one for whatever differs."""

import json
import logging
import math
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from scail_model.files.content_keys import digest, sampled_digest


def scaled(values, by=2.0, *, shift=0.0):
    return values * by + shift


def closure(held):
    return lambda: held


class Patch:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def apply(self):
        return self


class OtherPatch(Patch):
    pass


class Slots:
    __slots__ = ("empty", "strength")

    def __init__(self, strength):
        self.strength = strength


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    parts: list = field(default_factory=list)


class Kind(Enum):
    ONE = 1
    TWO = 2


def with_default(value):
    def function(x=value):
        return x

    return function


def with_keyword(value):
    def function(*, x=value):
        return x

    return function


def tensors(dtype):
    """Two tensors that differ in one element."""
    base = torch.arange(12.0).reshape(3, 4)
    other = base.clone()
    other[1, 2] = 7
    return base.to(dtype), other.to(dtype)


def cyclic(last):
    values = [1, {"x": 2}]
    values[1]["all"] = values
    values.append(last)
    return values


def values():
    """Values that all differ from each other."""
    base = torch.arange(12.0)
    return [
        None, True, False, 0, 1, 2, 0.0, -0.0, 1.0, 1e-300, float("nan"), 1 + 2j, "", "1", "a;b", "a", "b", b"a",
        "None", Fraction(25), Fraction(30000, 1001), Decimal("1.5"), np.float32(1), np.float32(2), np.int64(1),
        Path("a"), Path("b"), Kind.ONE, Kind.TWO,
        [], [[]], [1], [1, 2], [2, 1], [[1], 2], [1, [2]], [[1, 2]], ["a;b"], ["a", "b"], {}, {"a": 1}, {"a": 2},
        {"b": 1}, {1: "a"}, {"1": "a"}, {"a": {"b": 1}}, set(), {1}, {"a", "b", "c", "d"},
        base, base.reshape(3, 4), base.reshape(4, 3), base.double(), base.half(), base.bfloat16(), base.int(),
        base.view(torch.int32),
        torch.tensor(1.0), torch.tensor([1.0]), torch.empty(0), torch.empty(0, 3), [base], {"a": base},
        *(tensor for kind in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.bool, torch.complex64,
                              torch.uint8) for tensor in tensors(kind)[:1]),
        *(tensors(kind)[1] for kind in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.uint8)),
        torch.float16, torch.bfloat16, torch.device("cpu"), torch.device("meta"), int, Patch,
        scaled, closure(1), closure(2), closure(base), closure(scaled), with_default(1), with_default(2),
        with_keyword(1), with_keyword(2), partial(scaled), partial(scaled, 1), partial(scaled, by=1),
        partial(scaled, shift=1), partial(partial(scaled, 1), 2), torch.relu, torch.tanh,
        Patch(), OtherPatch(), Patch(a=1), Patch(a=2), Patch(b=1), Patch(a=1, b=1), Patch(a=base), Patch(a=[Patch()]),
        Patch(a=1).apply, Patch(a=2).apply, Slots(1), Slots(2), Setting("a"), Setting("b"), Setting("a", [1]),
        cyclic(1), cyclic(2),
    ]


@pytest.mark.parametrize("function", [digest, sampled_digest])
def test_all_that_differs_has_another_digest(function):
    found = {}
    for value in values():
        assert found.setdefault(function(value), value) is value, value


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float8_e4m3fn, torch.int16])
def test_one_element_of_a_tensor(dtype):
    one, other = tensors(dtype)
    assert digest(one) == digest(one.clone()) == digest(one.T.contiguous().T)
    assert digest(one) != digest(other)


def test_equal_values_are_equal():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({1, 2, 3}) == digest({3, 2, 1})
    assert digest((1, 2)) == digest([1, 2])
    assert digest(np.arange(3.0)) == digest(torch.arange(3.0).double())
    assert digest(torch.nn.Parameter(torch.ones(2))) == digest(torch.ones(2))
    assert digest(Patch(a=1, b=2)) == digest(Patch(b=2, a=1))
    assert digest(1, 2) != digest(2, 1)
    assert digest(1, 2) != digest([1, 2])
    assert len(digest()) == 32
    assert int(digest(), 16)


def test_another_process_finds_the_same():
    """Under another hash seed, which orders sets differently."""
    code = f"""
import importlib.util, json, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
spec = importlib.util.spec_from_file_location({__name__!r}, {__file__!r})
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
print(json.dumps([module.digest(value) for value in module.values()]))"""
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                           env={"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"})
    assert json.loads(other.stdout) == [digest(value) for value in values()]


class Module(torch.nn.Module):
    """A patch with weights, whose settings are what a user has chosen."""

    def __init__(self, **settings):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        torch.nn.init.ones_(self.layer.weight)
        torch.nn.init.zeros_(self.layer.bias)
        for name, value in settings.items():
            setattr(self, name, value)


def test_settings_of_a_module_count_at_any_depth():
    settings = [
        {}, {"strength": 1.0}, {"strength": 0.5}, {"blocks": []}, {"blocks": [1]}, {"blocks": [1, 2]},
        {"blocks": [2, 1]}, {"blocks": {1, 2}}, {"blocks": [[1], [2]]}, {"blocks": {"a": [1]}},
        {"blocks": {"a": [2]}}, {"blocks": {"b": [1]}}, {"blocks": [(1, {"x": 2})]}, {"blocks": [(1, {"x": 3})]},
        {"scale": torch.ones(3)}, {"scale": torch.zeros(3)}, {"scales": [torch.ones(3)]},
        {"scales": [torch.zeros(3)]}, {"names": {("a", 1): np.ones(2)}}, {"names": {("a", 1): np.zeros(2)}},
    ]
    for function in (digest, sampled_digest):
        assert len({function(Module(**setting)) for setting in settings}) == len(settings)
        assert function(Module(blocks=[1])) == function(Module(blocks=(1,)))
    heavier = Module()
    torch.nn.init.zeros_(heavier.layer.weight)
    assert digest(heavier) != digest(Module())


def test_what_comfyui_puts_into_a_module_does_not_count():
    """Functions on its weights and hooks while it is in memory, and references to other objects."""
    module = Module(functions=[], about={"blocks": [1]})
    before = digest(module)
    module.functions.append(scaled)
    module.about |= {"owner": Patch(a=1), scaled: 1}
    module.owner = Patch(a=2)
    module.register_forward_hook(scaled)
    module.about["all"] = module.about
    assert digest(module) == before


def test_a_compiled_module_is_known_by_what_it_compiles():
    """Compiling again, as another process does, changes nothing."""
    first, same, other = (torch.compile(Module(), backend="eager") for _ in range(3))
    assert digest(first) == digest(same) != digest(Module())
    torch.nn.init.zeros_(other.layer.weight)
    assert digest(other) != digest(first)


def test_cycles_end_and_deep_objects_count():
    patch = Patch()
    patch.me, patch.apply = [patch], patch.apply
    assert digest(patch) == digest(patch)
    assert digest(Patch(a=[Patch(a=[Patch(a=1)])])) != digest(Patch(a=[Patch(a=[Patch(a=2)])]))
    assert digest(Patch(a=Patch(a=1))) != digest(Patch(a=Patch(a=2)))
    assert digest(Patch(a=[Patch(a=1)])) != digest(Patch(a=[Patch(a=2)]))


def test_a_sample_is_the_beginning_and_the_middle():
    weight = torch.zeros(100, 100)
    seen = {0: True, 1023: True, 1024: False, 4999: False, 5000: True, 6023: True, 6024: False, 9999: False}
    for place, differs in seen.items():
        changed = weight.clone()
        changed.view(-1)[place] = 1
        assert (sampled_digest({"w": changed}) != sampled_digest({"w": weight})) == differs
        assert digest({"w": changed}) != digest({"w": weight})
    assert sampled_digest(torch.zeros(10_000)) != sampled_digest(weight)


def test_what_patches_may_hold_besides():
    """Texts in arrays count, ids of this run do not, and a variable that is not there yet does not fail."""
    assert digest(np.array(["a", "b"])) != digest(np.array(["a", "c"]))
    assert digest(np.arange(6)[::-1]) == digest(np.arange(6)[::-1].copy())
    assert digest(uuid.uuid4()) == digest(uuid.uuid4())
    assert digest(logging.getLogger("a")) != digest(logging.getLogger("b"))

    def patch():
        return later

    before = digest(patch)
    later = 1
    assert digest(patch) != before
    assert digest({"module": math}) == digest({"module": math})


def test_a_known_object_counts_by_its_name():
    shared, own = Module(), Module(blocks=[1])

    def known(value):
        return ("shared", ()) if value is shared else None

    def key():
        return sampled_digest(closure(shared), closure(own), known=known)

    before = key()
    shared.noted = 1
    assert key() == before
    own.noted = 1
    assert key() != before
