"""The order of the pages; one that is not here fails the build."""

from collections.abc import Mapping, Sequence
from typing import Final

OTHERS: Final = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LOG.md")
"""Documents beside the README that are in no folder."""

NAVIGATION: Final[Mapping[str, Sequence[str]]] = {
    "Begin": ["docs/start", "docs/rewards/tutorial", "gallery", "docs/python", "docs/coming-from"],
    "Look at runs": [
        "docs/reports",
        "docs/view",
        "docs/terminal",
        "docs/trackers",
        "docs/metrics",
        "docs/metric-names",
    ],
    "Rewards": [
        "docs/rewards/README",
        "docs/rewards/writing-a-reward",
        "docs/rewards/running-rewards",
        "docs/rewards/math",
        "docs/code",
        "docs/rewards/other-rewards",
        "docs/rewards/judge",
        "docs/rewards/preference",
        "docs/rewards/grading-files",
        "docs/rewards/from-trl",
        "docs/rewards/from-verl",
    ],
    "Train": [
        "docs/runs",
        "docs/prompts",
        "docs/mixtures",
        "docs/sampling",
        "docs/alarms",
        "docs/controls",
        "docs/lora",
        "docs/rlhf",
        "docs/reward-models",
        "docs/reward-model-evaluation",
    ],
    "Algorithms": [
        "docs/presets/README",
        "docs/algorithms",
        "docs/presets/grpo",
        "docs/presets/dr_grpo",
        "docs/presets/dapo",
        "docs/presets/gspo",
        "docs/presets/cispo",
        "docs/presets/rloo",
        "docs/presets/ppo",
        "docs/presets/reinforce-plus-plus",
    ],
    "Evaluate": [
        "docs/evaluation",
        "docs/eval-command",
        "docs/suites",
        "docs/evaluation-engines",
        "docs/separation",
    ],
    "Scale": [
        "docs/vllm",
        "docs/async",
        "docs/ranks",
        "docs/scale",
        "docs/sizing",
        "docs/speed",
        "docs/precision",
    ],
    "Plugins": [
        "docs/plugins/README",
        "docs/plugins/rewards",
        "docs/plugins/tasks",
        "docs/plugins/suites",
        "docs/plugins/metrics",
        "docs/plugins/templates",
        "docs/plugins/configs",
        "docs/plugins/presets",
        "docs/plugins/advantages",
        "docs/plugins/losses",
        "docs/plugins/engines",
        "docs/plugins/observers",
        "docs/plugins/trackers",
    ],
    "Reference": ["docs/settings", "docs/reward-model-settings", "api/"],
    "About": ["ARCHITECTURE", "CONTRIBUTING", "CHANGELOG", "LOG", "code/"],
}
