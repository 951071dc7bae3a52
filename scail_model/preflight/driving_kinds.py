"""What moves in the driving video, if it is not filmed people: rendered poses, or an animal; and what to expect.

The authors' own words (README of zai-org/SCAIL-2): pose-driven is better at 704p; animals as drivers are zero-shot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..identity.identities import Identities
from .findings import Finding, fact

# What people call animals whose motion is followed. A name is all that is known of what somebody is.
_ANIMALS = frozenset({
    "animal", "dog", "puppy", "cat", "kitten", "horse", "pony", "foal", "donkey", "zebra", "cow", "bull", "calf",
    "sheep", "lamb", "goat", "pig", "deer", "fox", "wolf", "bear", "panda", "lion", "tiger", "leopard", "cheetah",
    "elephant", "giraffe", "camel", "monkey", "ape", "gorilla", "rabbit", "hare", "squirrel", "mouse", "rat",
    "hamster", "bird", "parrot", "duck", "goose", "swan", "chicken", "penguin", "eagle", "owl", "crow", "frog",
    "turtle", "lizard", "dinosaur", "dragon"})


def animals(identities: Identities) -> Iterator[Finding]:
    """People who are called an animal: the user has said that one moves here."""
    for person, name in enumerate(identities.given_names):
        if _ANIMALS & set(re.findall(r"[a-z]+", name.lower())):
            yield fact("animal", f"{identities.title(person)} has the name of an animal: if one drives here, the model "
                                 "was trained with people, and its authors call animals as drivers zero-shot, without "
                                 "figures; try a short part first, and let the prompt say how the legs move")
