"""Which workers are worth another row: one that only fails would fail a whole batch by itself, for it is free first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

_MOST = 3  # failures in a row, after which a worker rests
_REST = 600.0  # seconds
_BREATH = 5.0  # seconds after the first start that failed; as much more after each


@dataclass
class _Record:
    """failures: rows that failed since one was made, each once, and starts that failed. until: when it can be given a
    row again. why: of a worker that rests."""

    failures: list[str] = field(default_factory=list)
    until: float = 0.0
    why: str = ""


class Health:
    """Of all workers, by name. Times are those of the driver's clock."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def ready(self, worker: str, now: float) -> bool:
        return worker not in self._records or self._records[worker].until <= now

    def well(self, worker: str) -> None:
        """It has made a row."""
        self._records.pop(worker, None)

    def failed(self, worker: str, row: str, why: str, now: float) -> str:
        """It has failed with a row; the second failure with the same one may be the row's fault, and does not count."""
        record = self._record(worker)
        return "" if row in record.failures else self._worse(worker, record, row, why, now)

    def not_started(self, worker: str, why: str, now: float) -> str:
        """It could not begin a row, so that no row has to do with it."""
        record = self._record(worker)
        record.until = now + _BREATH * (1 + len(record.failures))
        return self._worse(worker, record, "", why, now)

    def due(self, now: float) -> list[float]:
        """When workers can be given rows again."""
        return [record.until for record in self._records.values() if record.until > now]

    def hopeless(self, workers: Collection[str], now: float) -> str:
        """Why none of the workers is worth a row: one's last failure, if all of them rest. "" otherwise."""
        resting = [self._records[worker] for worker in workers
                   if worker in self._records and self._records[worker].why and self._records[worker].until > now]
        return resting[-1].why if resting and len(resting) == len(workers) else ""

    def _record(self, worker: str) -> _Record:
        return self._records.setdefault(worker, _Record())

    def _worse(self, worker: str, record: _Record, row: str, why: str, now: float) -> str:
        """Returns what there is to tell."""
        record.failures.append(row)
        if len(record.failures) < _MOST:
            return ""
        record.until, record.why = now + _REST, why
        return f"{worker} rests for {_REST / 60:.0f} minutes, after {len(record.failures)} failures in a row: {why}"
