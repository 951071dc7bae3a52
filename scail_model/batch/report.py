"""report.json of a row: what was made of what, where, how long it took and what it cost; and every attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from typing import Any

from .failures import Kind

FORMAT = "scail2-row-1"
WAITING, RUNNING, DONE, FAILED, INTERRUPTED = "waiting", "running", "done", "failed", "interrupted"
_HOUR = 3600.0


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def cost_of(gpu_seconds: float | None, price: float | None) -> float | None:
    """price: of an hour of a GPU. None if one of both is not known."""
    return None if gpu_seconds is None or price is None else gpu_seconds / _HOUR * price


@dataclass(frozen=True)
class Attempt:
    """One try of a row by one process. started, ended: ISO 8601. gpus: those that it held. stages: seconds by name.
    kept, made: segments that were there, and new ones. forgiven: it was before somebody asked for a retry."""

    started: str
    host: str
    pid: int
    engine: str
    gpus: Sequence[str] = ()
    smaller: bool = False
    state: str = RUNNING
    ended: str | None = None
    kind: Kind | None = None
    error: str | None = None
    gpu_seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    kept: int = 0
    made: int = 0
    forgiven: bool = False

    @property
    def counts(self) -> bool:
        """Whether it is one of the attempts that a row has. One that was cut short by its process or GPU does not count
        if it made a segment: long rows on machines that come and go get to their end."""
        further = self.made > 0 and self.kind in (Kind.PROCESS, Kind.GPU)
        return self.state == FAILED and not self.forgiven and self.kind is not Kind.STOPPED and not further


@dataclass(frozen=True)
class Facts:
    """What is known of a row's making beside its attempts, as far as it has come. inputs: by address, {"file",
    "sha256", "bytes"}. values: the row's others. segments: {"total", "kept", "made"} of the last attempt."""

    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    gpu: str | None = None
    seed: int | None = None
    frames: Mapping[str, int] = field(default_factory=dict)
    rate: Mapping[str, str] = field(default_factory=dict)
    sound: Mapping[str, bool] = field(default_factory=dict)
    segments: Mapping[str, int] = field(default_factory=dict)
    job_folder: str | None = None
    seams: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class RowReport:
    """price: of an hour of a GPU, None if nobody said one."""

    id: str
    fingerprint: str = ""
    state: str = WAITING
    attempts: tuple[Attempt, ...] = ()
    facts: Facts = Facts()
    price: float | None = None

    @property
    def last(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def finished(self) -> bool:
        return self.state == DONE

    @property
    def error(self) -> str | None:
        return self.last.error if self.last else None

    @property
    def kind(self) -> Kind | None:
        return self.last.kind if self.last else None

    @property
    def smaller(self) -> bool:
        """Whether the last attempt had the row's smaller values."""
        return self.last is not None and self.last.smaller

    @property
    def gpu_seconds(self) -> float:
        """Of all attempts."""
        return sum(attempt.gpu_seconds for attempt in self.attempts)

    @property
    def cost(self) -> float | None:
        return cost_of(self.gpu_seconds, self.price)

    @property
    def stages(self) -> dict[str, float]:
        """Seconds by name, of all attempts."""
        found: dict[str, float] = {}
        for attempt in self.attempts:
            for name, seconds in attempt.stages.items():
                found[name] = round(found.get(name, 0.0) + seconds, 3)
        return found

    def begun(self, attempt: Attempt) -> RowReport:
        """With one more attempt. One that never ended was broken off with its process."""
        before = tuple(replace(old, state=INTERRUPTED) if old.state == RUNNING else old for old in self.attempts)
        return replace(self, state=RUNNING, attempts=(*before, attempt))

    def changed(self, **values: Any) -> RowReport:
        """With other values of the last attempt, whose state becomes the row's."""
        attempt = replace(self.attempts[-1], **values)
        return replace(self, state=attempt.state, attempts=(*self.attempts[:-1], attempt))

    def lost(self, text: str) -> RowReport:
        """Of a row whose worker died in the middle of it; `text` says so in one sentence."""
        if self.last is None or self.last.state != RUNNING:
            return self
        return self.changed(state=FAILED, kind=Kind.PROCESS, error=text, ended=now())

    def again(self) -> RowReport:
        """Of a row that somebody asks to be tried again, as if it had not been tried."""
        attempts = tuple(replace(attempt, forgiven=True) for attempt in self.attempts)
        return replace(self, state=WAITING, attempts=attempts)

    def values(self) -> dict[str, Any]:
        """For JSON."""
        last = self.last
        return {"format": FORMAT, "id": self.id, "state": self.state, "fingerprint": self.fingerprint,
                "smaller": self.smaller, "error": self.error, "kind": self.kind,
                "host": last and last.host, **asdict(self.facts), "stages": self.stages,
                "gpu_seconds": round(self.gpu_seconds, 3), "gpu_hour_price": self.price,
                "cost": None if self.cost is None else round(self.cost, 6),
                "attempts": [asdict(attempt) for attempt in self.attempts]}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RowReport:
        """What `values` gave. ValueError for another format."""
        if values.get("format") != FORMAT:
            raise ValueError(f"its format is {values.get('format')!r}, not {FORMAT!r}")
        if values["state"] not in (WAITING, RUNNING, DONE, FAILED, INTERRUPTED):
            raise ValueError(f"its state is {values['state']!r}")
        facts = Facts(**{each.name: values[each.name] for each in fields(Facts)})
        attempts = tuple(Attempt(**attempt | {"kind": attempt["kind"] and Kind(attempt["kind"])})
                         for attempt in values["attempts"])
        return cls(values["id"], values["fingerprint"], values["state"], attempts, facts, values["gpu_hour_price"])
