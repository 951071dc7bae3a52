"""How long the rows of a batch take, and from that how long the rest will take; in what order they are begun."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .manifest import Row


def in_order(rows: Sequence[Row], estimates: Mapping[str, float | None]) -> list[Row]:
    """Rows as they are begun: the longest first, so that the workers end together. Rows of one workflow stay together,
    for they use the same models; the workflow with the longest row comes first, which keeps the end even too."""
    def seconds(row: Row) -> float:
        return estimates.get(row.id) or 0.0

    longest: dict[str, float] = {}
    for row in rows:
        longest[_kind(row)] = max(longest.get(_kind(row), 0.0), seconds(row))
    kinds = {kind: place for place, kind in enumerate(sorted(longest, key=lambda kind: -longest[kind]))}
    return sorted(rows, key=lambda row: (kinds[_kind(row)], -seconds(row)))


def _kind(row: Row) -> str:
    return str(row.workflow)


class Pace:
    """Told of each row that begins, ends, or waits once more. estimates: seconds by row; what rows really take scales
    them. A row without one counts as the mean of the others."""

    def __init__(self, rows: Iterable[str], estimates: Mapping[str, float | None]) -> None:
        self._estimates = {id: seconds for id, seconds in estimates.items() if seconds}
        self._usual = sum(self._estimates.values()) / len(self._estimates) if self._estimates else 1.0
        self._waiting = set(rows)
        self._ahead = sum(map(self._estimate, self._waiting))  # of those that wait
        self._begun: dict[str, float] = {}
        self._reckoned = self._taken = 0.0  # of rows that were made: by estimate, by the clock

    def waits(self, id: str) -> None:
        self._begun.pop(id, None)
        if id not in self._waiting:
            self._waiting.add(id)
            self._ahead += self._estimate(id)

    def begins(self, id: str, now: float) -> None:
        self._begun[id] = now
        self._leaves(id)

    def ends(self, id: str, now: float, *, made: bool) -> None:
        begun = self._begun.pop(id, now)
        self._leaves(id)
        if made and now > begun:
            self._reckoned += self._estimate(id)
            self._taken += now - begun

    def left(self, now: float, workers: int) -> float | None:
        """Seconds to the end with so many workers; None before anything is known."""
        if not workers or not (self._estimates or self._reckoned):
            return None
        scale = self._taken / self._reckoned if self._reckoned else 1.0
        running = [max(0.0, scale * self._estimate(id) - (now - begun)) for id, begun in self._begun.items()]
        return max([(scale * self._ahead + sum(running)) / workers, *running])

    def _leaves(self, id: str) -> None:
        if id in self._waiting:
            self._waiting.remove(id)
            self._ahead -= self._estimate(id)

    def _estimate(self, id: str) -> float:
        return self._estimates.get(id, self._usual)
