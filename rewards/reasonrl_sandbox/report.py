"""Reports the isolation on this machine: which layers are active, what was verified, what is missing and why."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from reasonrl_sandbox.types import Isolation, ReportedIsolation

ProbeResult = Literal["ok", "FAILED", "skipped"]
"""A probe was contained, or it broke out, or it was not run because its level does not promise to contain it."""

_NAMESPACES: Final = (
    "Linux 5.12 or newer with user namespaces (sysctl user.max_user_namespaces > 0; on Debian "
    "kernel.unprivileged_userns_clone = 1; on Ubuntu kernel.apparmor_restrict_unprivileged_userns = 0); in Docker: "
    "--security-opt seccomp=unconfined --security-opt apparmor=unconfined; in Kubernetes: seccompProfile Unconfined"
)

NEEDS: Final[Mapping[str, str]] = {
    "limits": "any Unix",
    "user": "nothing: root becomes a separate user, any other user keeps its id",
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

    level: ReportedIsolation
    """The level formed."""
    layers: Mapping[str, str]
    """Each layer: `active`, `active: detail`, or `off: why`. Active means that the system calls succeeded."""
    verified: Mapping[str, ProbeResult]
    """Each probe, run at start-up as programs are run, and whether it was contained."""
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
    verified: Mapping[str, ProbeResult],
    refused: Mapping[Isolation, str],
    uid: int,
) -> IsolationReport:
    """Return a report; `refused` has why each stronger level could not be formed."""
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
    """Return why a level cannot be formed here, and what would help."""
    need = NEEDS.get(missing.partition(":")[0])
    return f"isolation: {level!r} cannot be formed here ({missing}). " + (f"It needs {need}." if need else "")


def describe_isolation(report: IsolationReport) -> str:
    """Return a report as text: every layer, what the probes found, and what each missing layer needs."""
    counts = [list(report.verified.values()).count(result) for result in get_args(ProbeResult)]
    lines = [f"isolation {report.level}: {report.kernel}, Python {report.python}, uid {report.uid}"]
    lines += [f"    {name}: {state}" for name, state in sorted(report.layers.items(), key=lambda layer: layer[1])]
    lines += ["probe programs: {} contained, {} broke out, {} skipped".format(*counts)]
    lines += [f"    {name}: {result}" for name, result in report.verified.items() if result != "ok"]
    lines += [f"{name} would need {need}" for name, need in report.needs.items()]
    return "\n".join(lines)
