"""What all groups of settings have in common, and how a run file names a plugin."""

from typing import Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from reasonrl.plugins.loading import Kind
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.plugins.values import refuse_lookalikes, refuse_repeated


class Settings(BaseModel):
    """A frozen group of settings that refuses keys it does not know, and values that nobody can mean."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_what_is_not_meant(cls, given: object, info: ValidationInfo) -> object:
        """Refuse slips such as ``true`` for a number, and empty text where the default is not empty."""
        field = cls.model_fields[info.field_name or ""]
        refuse_lookalikes(field.annotation, given)
        refuse_repeated(field.annotation, given)
        if isinstance(given, str) and not given.strip() and field.default != "":
            raise ValueError("is empty")
        return given


class PluginRef(Settings):
    """A plugin and its parameters: an installed name, ``./file.py:name`` or ``package.module:name``."""

    name: str
    """An installed name, ``./file.py:name`` (from the current folder) or ``package.module:name``."""
    params: dict[str, Any] = {}
    """Parameters of the plugin's function; unknown ones are refused. Any: their types are the function's."""

    @model_validator(mode="before")
    @classmethod
    def _accept_a_bare_name(cls, given: object) -> object:
        """Let ``task: arithmetic`` stand for ``task: {name: arithmetic}``."""
        return {"name": given} if isinstance(given, str) else given


class TrackerRef(PluginRef):
    """A tracker, its parameters, and what it may cost."""

    rollouts: int = Field(16, ge=0)
    """Rollouts of a step that it gets as a table, whole groups first, where it has tables; 0 for none."""
    timeout_s: float = Field(20.0, gt=0)
    """Longest time in seconds of one of its calls, which the run does not wait for; and that the end of the run waits
    for it. After that it is detached."""


def require_installed(kind: Kind) -> AfterValidator:
    """Return what refuses a name that no package offers; a reference to a file or module is looked up when used."""

    def check(ref: PluginRef) -> PluginRef:
        plugins = installed_plugins()
        if ":" not in ref.name and ref.name not in plugins.entries(kind):
            raise ValueError(plugins.unknown(kind, ref.name))
        return ref

    return AfterValidator(check)
