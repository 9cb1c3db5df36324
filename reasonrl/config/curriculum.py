"""Settings of an online curriculum."""

from typing import Self

from pydantic import Field, model_validator

from reasonrl.config.base import Settings


class CurriculumSettings(Settings):
    """Passes over problems that the model always or never solves, by the pass rates that the run itself sees."""

    min_pass_rate: float = Field(0.1, ge=0, le=1)
    """Problems that are solved less often teach little."""
    max_pass_rate: float = Field(0.9, ge=0, le=1)
    """Problems that are solved more often teach little."""
    revisit: float = Field(0.1, gt=0, le=1)
    """Smallest probability that a problem is taken when its turn comes, however surely it teaches little; at 1 nothing
    is ever passed over."""
    half_life: float = Field(50.0, gt=0)
    """Steps after which what was seen of a problem counts half: the policy moves on meanwhile."""
    pass_at: float | None = Field(None, allow_inf_nan=False)
    """Smallest total reward of a completion that solves its problem; null is 1, or the sum of the positive weights of
    the task's rewards where that is less."""

    @model_validator(mode="after")
    def _check_rates(self) -> Self:
        """Refuse limits that no problem can meet."""
        if self.min_pass_rate >= self.max_pass_rate:
            raise ValueError(
                f"min_pass_rate is {self.min_pass_rate}, but max_pass_rate is {self.max_pass_rate}: it must be less"
            )
        return self
