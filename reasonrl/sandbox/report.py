"""What holds programs on this machine: which layers are active, what was verified, what is missing and why."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from reasonrl.sandbox.types import Isolation, Level

Verdict = Literal["ok", "FAILED", "skipped"]
"""Of a witness: it could do no harm, it could, or its level does not promise that it cannot."""

_NAMESPACES: Final = (
    "Linux 5.12 or newer with user namespaces (sysctl user.max_user_namespaces > 0; on Debian "
    "kernel.unprivileged_userns_clone = 1; on Ubuntu kernel.apparmor_restrict_unprivileged_userns = 0); in Docker: "
    "--security-opt seccomp=unconfined --security-opt apparmor=unconfined; in Kubernetes: seccompProfile Unconfined"
)

NEEDS: Final[Mapping[str, str]] = {
    "limits": "any Unix",
    "user": "nothing: root becomes a user of its own, anybody else stays who they are",
    "program_folder": "a folder for temporary files (TMPDIR) that the programs' user may enter",
    "no_new_privileges": "Linux",
    "seccomp": "Linux with CONFIG_SECCOMP_FILTER, on x86_64 or aarch64",
    "landlock": "Linux 5.13 or newer, started with landlock among its security modules (lsm=landlock,...)",
    **dict.fromkeys(
        ("user_namespace", "mount_namespace", "pid_namespace", "network_namespace", "ipc_namespace"), _NAMESPACES
    ),
}
"""Every layer, and what a machine must allow for it."""


@dataclass(frozen=True, slots=True)
class IsolationReport:
    """The isolation in use, as it was formed and tried at start-up."""

    level: Level
    """The level formed."""
    layers: Mapping[str, str]
    """Each layer: `active`, `active: detail`, or `off: why`. Active says that the kernel agreed."""
    verified: Mapping[str, Verdict]
    """Each witness program that was run at start-up under the final identity, and whether it could do harm."""
    needs: Mapping[str, str]
    """Each layer that is off: what this machine would have to allow for it."""
    uid: int
    """The user that programs run as."""
    kernel: str
    """System and release, as `uname` says."""
    python: str
    """Version of the interpreter that runs the programs."""


def report_of(
    level: Isolation,
    active: Mapping[str, str],
    verified: Mapping[str, Verdict],
    refused: Mapping[Isolation, str],
    uid: int,
) -> IsolationReport:
    """Put a report together; `refused` holds why each stronger level could not be formed."""
    reasons = dict(reason.partition(": ")[::2] for reason in refused.values())
    otherwise = "this kernel does not have it" if level == "full" else f"no part of level {level}"
    off = {name: f"off: {reasons.get(name, otherwise)}" for name in NEEDS if name not in active}
    return IsolationReport(
        level=level,
        layers={**active, **off},
        verified=dict(verified),
        needs={name: NEEDS[name] for name in off},
        uid=uid,
        kernel=f"{os.uname().sysname} {os.uname().release}",
        python=platform.python_version(),
    )


def what_to_do(level: Isolation, missing: str) -> str:
    """Say why a level cannot be formed here, and what would help."""
    need = NEEDS.get(missing.partition(":")[0])
    return f"isolation: {level!r} cannot be formed here ({missing}). " + (f"It needs {need}." if need else "")
