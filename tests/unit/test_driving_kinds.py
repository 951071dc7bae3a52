"""What the check says of driving videos that do not show filmed people."""

from __future__ import annotations

import pytest
from preflight_jobs import WHOLE, bound, job, texts

from scail_model.preflight.checks import check

TWO = [(8, 16, 40, 112)] * 17, [(56, 16, 88, 112)] * 17


@pytest.mark.parametrize("name", ["dog", "Dog", "the old dog", "my cat 2", "guard-dog"])
def test_somebody_who_is_called_an_animal_is_told_what_to_expect(name):
    found = texts(job(bound([WHOLE] * 17, names=name)), "fact")["animal"]
    assert found.startswith(f"{name} (blue) has the name of an animal")
    assert "zero-shot" in found


@pytest.mark.parametrize("name", ["", "Anna", "Catherine", "Dogan", "hotdogs", "狗"])
def test_others_are_people(name):
    assert "animal" not in texts(job(bound([WHOLE] * 17, names=name)), "fact")


def test_only_the_animal_among_several_is_meant():
    (found,) = [finding.text for finding in check(job(bound(*TWO, names="Anna, horse"))) if finding.code == "animal"]
    assert found.startswith("horse (red)")
