"""The file of ``reasonrl difficulty``: how often each problem was passed, one JSON object a line, with a manifest."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reasonrl.errors import DataError
from reasonrl.system import jsonl
from reasonrl.system.atomic import write_atomically
from reasonrl.system.disk import disk_errors
from reasonrl.system.text import read_text

PRIOR: Final = 0.5
"""Both parameters of Jeffreys' prior of a pass rate, Beta(1/2, 1/2)."""
LEVEL: Final = 0.95
RATE_ROUNDING: Final = 1e-3
"""By how much ``pass_rate`` may differ from the counts beside it in a file that something else has rounded."""


class Posterior(BaseModel):
    """What the samples say of a problem's pass rate: Beta(alpha, beta), with its mean and its 95 % interval."""

    model_config = ConfigDict(frozen=True)

    alpha: float
    beta: float
    mean: float
    lower: float
    upper: float

    @classmethod
    def of(cls, num_passed: int, num_samples: int) -> Self:
        """Return the posterior under Jeffreys' prior; the interval leaves out as much below as above."""
        from scipy.special import betaincinv  # 0.1 s to import

        alpha, beta = PRIOR + num_passed, PRIOR + num_samples - num_passed
        lower, upper = (float(betaincinv(alpha, beta, tail)) for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        return cls(alpha=alpha, beta=beta, mean=alpha / (alpha + beta), lower=lower, upper=upper)


class DifficultyRow(BaseModel):
    """How often one problem was passed; further columns are passed over."""

    model_config = ConfigDict(frozen=True)

    problem_id: str = Field(min_length=1)
    task: str = ""
    """The problem's own task: in a mixture the label."""
    num_samples: int = Field(ge=0)
    """Completions that have a score."""
    num_passed: int = Field(ge=0)
    pass_rate: float | None = None
    """Null without a scored completion."""
    posterior: Posterior | None = None
    num_unscored: int = Field(0, ge=0)
    """Completions without a score, which say nothing."""

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if self.num_passed > self.num_samples:
            raise ValueError(f"num_passed is {self.num_passed}, more than num_samples, which is {self.num_samples}")
        rate = self.rate
        if self.pass_rate is not None and (rate is None or abs(rate - self.pass_rate) > RATE_ROUNDING):
            raise ValueError(f"pass_rate is {self.pass_rate}, but {self.num_passed} of {self.num_samples} passed")
        return self

    @classmethod
    def of(cls, problem_id: str, task: str, passed: Sequence[bool | None]) -> Self:
        """Return the row of a problem; None stands for a completion without a score."""
        scored = [one for one in passed if one is not None]
        return cls(
            problem_id=problem_id,
            task=task,
            num_samples=len(scored),
            num_passed=sum(scored),
            pass_rate=sum(scored) / len(scored) if scored else None,
            posterior=Posterior.of(sum(scored), len(scored)),
            num_unscored=len(passed) - len(scored),
        )

    @property
    def rate(self) -> float | None:
        """The share of scored completions that passed; None without any."""
        return self.num_passed / self.num_samples if self.num_samples else None

    @property
    def variance(self) -> float:
        """The posterior mean of p (1 - p), the variance of passing."""
        alpha, beta = PRIOR + self.num_passed, PRIOR + self.num_samples - self.num_passed
        return alpha * beta / ((alpha + beta) * (alpha + beta + 1))


class DifficultyManifest(BaseModel):
    """What a file was made with."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    reasonrl: str
    """The version that made it."""
    sha256: str
    """Of the file."""
    num_problems: int
    num_samples: int
    """Completions of each problem."""
    seed: int
    model: str
    temperature: float
    tasks: dict[str, dict[str, Any]]
    """What decided the completions and scores of each task, by label. Any: JSON values of settings."""


def manifest_path(file: Path) -> Path:
    """Return where the manifest of a file stands."""
    return file.with_name(f"{file.name}.manifest.json")


def write_difficulty(file: Path, rows: Iterable[DifficultyRow], **manifest: Any) -> None:
    """Write a file and its manifest. Any: fields of :class:`DifficultyManifest`.

    Raises:
        RunError: the disk refuses it.
    """
    content = jsonl.encode(row.model_dump(mode="json") for row in rows)
    described = DifficultyManifest(sha256=hashlib.sha256(content).hexdigest(), **manifest)
    with disk_errors(file, "then give the command again: it goes on where it was."):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(manifest_path(file), described.model_dump_json(indent=2).encode() + b"\n")
        write_atomically(file, content)


def read_difficulty(file: Path) -> tuple[list[DifficultyRow], DifficultyManifest | None, str]:
    """Return the rows of a file, its manifest if it has one, and the digest of what is there now.

    Raises:
        DataError: the file cannot be read, a row is none, or two are of one problem; the message has the line.
    """
    text = read_text(file, DataError, "the file of difficulties")
    rows = [_row(f"{file}:{number}", line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not rows:
        raise DataError(f"{file}: is empty. Make it with: reasonrl difficulty RUN --out {file}")
    seen: set[tuple[str, str]] = set()
    for number, row in enumerate(rows, start=1):
        if (row.task, row.problem_id) in seen:
            raise DataError(f"{file}: row {number} is the second one of problem {row.problem_id}; keep one of them.")
        seen.add((row.task, row.problem_id))
    return rows, _manifest(manifest_path(file)), hashlib.sha256(text.encode()).hexdigest()


def _row(where: str, line: str) -> DifficultyRow:
    try:
        return DifficultyRow.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        what = ": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
        raise DataError(
            f"{where}: {what}. A row has problem_id, num_samples and num_passed; reasonrl difficulty writes them."
        ) from None


def _manifest(path: Path) -> DifficultyManifest | None:
    if not path.is_file():
        return None
    try:
        return DifficultyManifest.model_validate(json.loads(path.read_bytes()))
    except (ValidationError, ValueError):
        raise DataError(f"{path}: is not what reasonrl difficulty wrote there. Restore it, or remove it.") from None
