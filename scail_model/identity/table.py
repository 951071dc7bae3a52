"""The table on the node in which users bind people: the state that the node's texts describe, and the texts after a
change.

A page has only the cards (`cards.Card.values`) and the texts `binding`, `front` and `names`. People are numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .binding_text import (
    BY_OVERLAP,
    BY_POSITION,
    People,
    check_count,
    colour_labels,
    normal,
    overlapping_pairs,
    pairs_text,
    parse_front,
    parse_names,
    parse_pairs,
    usual_pairs,
)
from .mask_sources import DRIVING, REFERENCE

Card = Mapping[str, Any]
Pairs = dict[int, int]  # number in the reference -> number in the driving video


class Table:
    """The people on the cards, bound as the texts say.

    pairs: the binding. order: bound reference numbers, front to back. names: reference number -> written name. problem:
    the error message that a run would give, else None. If `binding` cannot be parsed, no one is bound; if `front`
    cannot, the order is the default one.
    """

    def __init__(self, cards: Sequence[Card], binding: str, front: str, names: str) -> None:
        self.reference = {card["number"]: card for card in cards if card["side"] == REFERENCE}
        self.driving = {card["number"]: card for card in cards if card["side"] == DRIVING}
        self._people = _people(self.driving), _people(self.reference)
        self.pairs: Pairs = {}
        self.binding = binding
        self.order: list[int] = []
        parts = [part.strip() for part in names.split(",")]
        self.names = {number: parts[card["place"]] if card["place"] < len(parts) else ""
                      for number, card in self.reference.items()}
        self.problem: str | None = None
        try:
            self.pairs = self._bound(binding)
            self.order = self._in_order("")
            check_count(len(self.pairs))
            self.order = self._in_order(front)
            self._check_names(names)
        except ValueError as error:
            self.problem = str(error)

    def rows(self) -> list[dict[str, Any]]:
        """One row per person of the reference: bound people from front to back, then the others."""
        shades = dict(zip(sorted(self.pairs), self._labels(), strict=True)) if self.pairs else {}
        return [self._row(number, shades.get(number)) for number in
                (*self.order, *(number for number in self.reference if number not in self.pairs))]

    def _row(self, number: int, shade: int | None) -> dict[str, Any]:
        driving = self.driving.get(self.pairs.get(number, 0), {})
        colour = next((card for card in (*self.reference.values(), *self.driving.values())
                       if card["number"] == (shade or number)), self.reference[number])
        called = self.names[number] or driving.get("name") or colour["colour_name"] or f"person {number}"
        return {"number": number, "driven_by": self.pairs.get(number), "name": self.names[number], "called": called,
                "colour": colour["colour"], "colour_name": colour["colour_name"]}

    def free(self) -> list[int]:
        """Driving numbers that are not bound."""
        return [number for number in self.driving if number not in self.pairs.values()]

    def bind(self, reference: int, driving: int | None) -> None:
        """Bind a person to a driving person, or to none. A person that was bound to it gets what is free now."""
        before = self.pairs.pop(reference, None)
        other = next((number for number, bound in self.pairs.items() if bound == driving), None)
        if other is not None:
            del self.pairs[other]
            if before is not None:
                self.pairs[other] = before
        if driving is not None:
            self.pairs[reference] = driving

    def move(self, number: int, by: int) -> None:
        """One place to the front (-1) or to the back (1)."""
        place = self.order.index(number)
        self.order[place], self.order[place + by] = self.order[place + by], self.order[place]

    def rename(self, number: int, name: str) -> None:
        self.names[number] = name

    def texts(self) -> dict[str, str]:
        """`binding`, `front` and `names` for the table as it is, each as short as can be: empty for what is usual."""
        try:
            usual = self._bound("") == self.pairs
        except ValueError:
            usual = False
        order = [number for number in self.order if number in self.pairs]
        order += sorted(set(self.pairs) - set(order))
        return {"binding": "" if usual else pairs_text(sorted(self.pairs.items())),
                "front": "" if order == self._in_order("") else ", ".join(map(str, order)),
                "names": self._written_names()}

    def _bound(self, text: str) -> Pairs:
        text = normal(text)
        nearest = [(number, card["nearest"]) for number, card in self.reference.items() if card["nearest"] is not None]
        if text == BY_POSITION:
            return dict(nearest)
        if text == BY_OVERLAP:
            return dict(overlapping_pairs(
                [(number, card["overlapping"], card["overlap"]) for number, card in self.reference.items()
                 if card["overlapping"] is not None], lambda: nearest))
        return dict(parse_pairs(text, *self._people) if text else usual_pairs(*self._people, lambda: nearest))

    def _in_order(self, text: str) -> list[int]:
        bound = sorted(self.pairs)
        fronts = [self.driving[self.pairs[number]]["front"] for number in bound]
        known = sorted((place for place, front in enumerate(fronts) if front is not None), key=fronts.__getitem__)
        return [bound[place] for place in parse_front(text, bound, known)]

    def _labels(self) -> tuple[int, ...]:
        return colour_labels(sorted(self.pairs.items()), *self._people, self.binding)

    def _check_names(self, text: str) -> None:
        places = [self.reference[number]["place"] for number in sorted(self.pairs)]
        parse_names(text, places, self._labels(), [""] * len(places))

    def _written_names(self) -> str:
        parts = [""] * (1 + max(card["place"] for card in self.reference.values()))
        for number in self.pairs:
            # a comma would end the name
            parts[self.reference[number]["place"]] = re.sub(r"\s*,\s*", " ", self.names[number]).strip()
        while parts and not parts[-1]:
            parts.pop()
        return ", ".join(parts)


def _people(side: Mapping[int, Card]) -> People:
    return People(tuple(side), any(card["painted"] for card in side.values()))


def view(question: Mapping[str, Any]) -> dict[str, Any]:
    """What a page shows, question and answer as JSON has them: {cards, binding, front, names} -> {rows, free,
    problem}."""
    table = Table(**question)
    return {"rows": table.rows(), "free": table.free(), "problem": table.problem}


def edit(question: Mapping[str, Any]) -> dict[str, str]:
    """The texts after a choice: {cards, binding, front, names, change, remembered} -> {binding, front, names}.

    change: "bind", "move" or "rename", then what the method of that name takes. remembered: names, by number, of people
    who were left out; they get them back when they are bound.
    """
    table = Table(*(question[name] for name in ("cards", "binding", "front", "names")))
    for number, name in question["remembered"].items():
        table.names[int(number)] = table.names[int(number)] or name
    change, *given = question["change"]
    {"bind": table.bind, "move": table.move, "rename": table.rename}[change](*given)
    return table.texts()
