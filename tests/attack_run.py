"""Runs the attack set at a level and prints as JSON what was not as it must be: `python attack_run.py LEVEL [--quick]`.

A process of its own, so that what it becomes to see everything that is left behind ends with it.
"""

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from leftovers import clean_host

from reasonrl_sandbox import ISOLATIONS, Isolation, Sandbox
from reasonrl_sandbox.attack import Attack, Trial, read_attacks, run_attacks
from reasonrl_sandbox.canary import planted_canary

FOLDER = Path(__file__).parent / "attacks"

QUICK = [
    "resource_fork_bomb",
    "resource_memory_bomb",
    "resource_stdout_bomb_stdio",
    "resource_infinite_loop",
    "resource_sleep_deaf",
    "forge_always_equal",
    "forge_always_equal_in_split",
    "forge_os_exit_in_call",
    "forge_sys_exit",
    "forge_markers",
    "forge_frames",
    "forge_pickle",
    "forge_every_descriptor",
    "forge_unittest_skip",
    "forge_stop_iteration_in_split",
    "forge_self_reference",
    "leak_expected_by_gc",
    "leak_expected_by_own_memory",
    "leak_canary_file",
    "leak_environment",
    "leak_inherited_descriptors",
    "kill_canary",
    "kill_parent",
    "kill_daemon",
    "kill_children_in_group",
    "kill_ptrace",
    "file_write_canary",
    "file_owner_of_canary",
    "file_symlink_swept",
    "file_deep_tree",
    "file_closed_folders",
    "network_tcp",
    "network_udp",
    "network_unix",
    "host_sysv",
    "host_keyring",
    "host_priority_of_others",
    "crash_null_pointer",
    "crash_abort",
]
"""Programs of every class that take no time."""


def run(level: Isolation, *, quick: bool) -> dict[str, object]:
    """Run hostile programs in one sandbox while honest ones run in another; say what went wrong."""
    packages = () if quick else ("numpy", "pytest")  # where pytest is, it runs all files of tests
    with clean_host() as leftovers:
        with (
            Sandbox(level, 1, packages) as sandbox,
            Sandbox(level, 1, packages) as beside,
            planted_canary(sandbox.report().uid) as canary,
        ):
            attacks = read_attacks(FOLDER, canary.placeholders)
            honest = [attack for attack in attacks if attack.name.startswith("honest_")]
            hostile = [attack for attack in attacks if attack not in honest and (attack.name in QUICK or not quick)]
            trials, others = run_beside(sandbox, hostile, beside, honest)
            harm = canary.harm()
        return {
            "hostile": len(trials),
            "honest": len(others),
            "wrong": [said(trial) for trial in [*trials, *others] if not trial.as_expected],
            "harm": harm,
            "left": leftovers(),
        }


def run_beside(
    sandbox: Sandbox, hostile: Sequence[Attack], beside: Sandbox, honest: Sequence[Attack]
) -> tuple[list[Trial], list[Trial]]:
    """Run honest programs for as long as hostile ones run, each at least once."""
    others: list[Trial] = []
    done = threading.Event()

    def keep_running() -> None:
        while not others or not done.is_set():
            others.extend(run_attacks(beside, honest))

    thread = threading.Thread(target=keep_running)
    thread.start()
    try:
        return run_attacks(sandbox, hostile), others
    finally:
        done.set()
        thread.join()


def said(trial: Trial) -> str:
    """What became of a program that should have ended otherwise."""
    wanted = " | ".join(sorted(trial.attack.expect))
    return f"{trial.attack.name}: {trial.outcome}, not {wanted}: {trial.detail}"


if __name__ == "__main__":
    (wanted,) = (level for level in ISOLATIONS if level in sys.argv)
    print(json.dumps(run(wanted, quick="--quick" in sys.argv)))
