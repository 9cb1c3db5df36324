"""The documentation: what is generated is current, what is shown works, and nothing is left out."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError

from reasonrl.algorithms.advantages import ADVANTAGES
from reasonrl.algorithms.losses import LOSSES
from reasonrl.algorithms.presets import PRESETS
from reasonrl.algorithms.reductions import REDUCTIONS
from reasonrl.algorithms.sequences import to_tokens
from reasonrl.config.runfile import load_run, override_run
from reasonrl.config.settings import AlgorithmSettings, RunConfig
from reasonrl.errors import PluginError
from reasonrl.plugins.lookup import Plugins
from tools import make_docs
from tools.make_docs import documents, preset_page, rewritten

ROOT = Path(__file__).parent.parent
PRESET_GUIDE = ROOT / "docs" / "presets" / "README.md"
DOCUMENTS = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in documents()]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_generated_parts_are_current(path: Path) -> None:
    assert rewritten(path) == path.read_text(), "run: python tools/make_docs.py"


def test_a_stale_file_is_named_and_left_alone_until_it_is_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("docs", "reasonrl/algorithms", "rewards/reasonrl_grading"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.setattr(make_docs, "ROOT", tmp_path)
    page = tmp_path / "docs" / "presets" / "dapo.md"
    stale = page.read_text().replace("clip_high 0.28**", "clip_high 0.29**")
    page.write_text(stale)
    assert make_docs.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == ["docs/presets/dapo.md: stale; run: python tools/make_docs.py"]
    assert page.read_text() == stale
    assert make_docs.main([]) == 0
    assert make_docs.main(["--check"]) == 0


def test_the_generator_needs_no_torch() -> None:
    code = "import sys; from tools.make_docs import main; main(['--check']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_preset_has_a_page_and_every_page_a_preset() -> None:
    pages = {path for path in PRESET_GUIDE.parent.glob("*.md") if path != PRESET_GUIDE}
    assert pages == {preset_page(name) for name in PRESETS}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_presets_page_has_its_source_its_gaps_and_all_of_its_values(preset: str) -> None:
    text = preset_page(preset).read_text()
    assert "arxiv.org/abs/" in text
    assert "## What it leaves out" in text
    assert f"<!-- generated: preset {preset} -->" in text


@pytest.mark.parametrize("preset", PRESETS)
def test_the_example_of_a_presets_page_is_a_run_of_that_preset(preset: str, tmp_path: Path) -> None:
    (example,) = [block for block in yaml_blocks(preset_page(preset)) if block.startswith("name:")]
    (tmp_path / "run.yaml").write_text(example)
    config = load_run(tmp_path / "run.yaml")
    assert config.algorithm.preset == preset
    require_usable(config.algorithm)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_line_for_a_run_file_can_be_used(path: Path) -> None:
    shown = [algorithm for algorithm in algorithms_shown(path) if algorithm not in refused()]
    for algorithm in shown:
        require_usable(AlgorithmSettings.model_validate(algorithm))


def test_what_the_guide_calls_refused_is_refused() -> None:
    assert len(refused()) >= 8
    for algorithm in refused():
        with pytest.raises((ValidationError, PluginError)):
            require_usable(AlgorithmSettings.model_validate(algorithm))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_run_under_another_preset_gets_all_values_of_that_one_as_the_guide_says(preset: str) -> None:
    base = run(algorithm={"preset": "dapo", "entropy_coefficient": 0.01})
    changed = override_run(base, [f"algorithm.preset={preset}"])
    assert changed.algorithm == AlgorithmSettings.model_validate({"preset": preset, "entropy_coefficient": 0.01})


def test_every_setting_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "settings.md").read_text()
    assert [path for path in key_paths(run().model_dump()) if f"\n| `{path}` |" not in reference] == []


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", path.read_text()):
        place = (path.parent / target).resolve() if target else path
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), f"{target}#{anchor}"


def test_at_one_update_a_step_all_losses_have_one_gradient_as_the_guide_says() -> None:
    for reduction in REDUCTIONS:
        gradients = [gradient("group_normalized", loss, reduction) for loss in LOSSES]
        assert all(torch.allclose(found, gradients[0]) for found in gradients)


def test_rloo_is_dr_grpo_with_a_factor_as_the_guide_says() -> None:
    rloo = gradient("leave_one_out", "policy_gradient", "fixed_length")
    dr_grpo = gradient("group_centered", "clipped_surrogate", "fixed_length")
    assert torch.allclose(rloo, dr_grpo * 4 / 3)


def run(**settings: Any) -> RunConfig:
    """A small run with some settings."""
    needed = {"name": "a", "model": "tiny", "task": "arithmetic", "rewards": ["numeric_answer"], "run": {"steps": 1}}
    return RunConfig.model_validate({**needed, **settings})


def yaml_blocks(path: Path) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", path.read_text(), flags=re.DOTALL)


def algorithms_shown(path: Path) -> list[Any]:
    """The value of every ``algorithm:`` in a document, in blocks and in lines."""
    lines = re.findall(r"`(algorithm: \{[^`]*\})`", path.read_text())
    return [yaml.safe_load(text)["algorithm"] for text in (*yaml_blocks(path), *lines) if "algorithm" in text]


def refused() -> list[Any]:
    """The first column of the guide's table of what is refused."""
    (table,) = re.findall(r"\| refused \|.*?\n\n", PRESET_GUIDE.read_text(), flags=re.DOTALL)
    return [
        yaml.safe_load(line)["algorithm"] for line in re.findall(r"^\| `(algorithm: [^`]*)`", table, flags=re.MULTILINE)
    ]


def require_usable(algorithm: AlgorithmSettings) -> None:
    """Do with the names what assembling a run does; a plugin of the reader's own is taken as it is."""
    if ":" not in algorithm.advantage.name:
        Plugins().function("advantages", algorithm.advantage)
    if ":" not in algorithm.loss.name:
        Plugins().function("losses", algorithm.loss)


def key_paths(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The key path of every setting; a plugin with its parameters is one."""
    for name, value in values.items():
        if isinstance(value, dict) and "params" not in value:
            yield from key_paths(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def gradient(advantage: str, loss: str, reduction: str) -> torch.Tensor:
    """The gradient in the log-probabilities at the first update of a step."""
    rewards_PG = torch.tensor([[1.0, 0, 0, 1], [1, 0, 0, 0], [1, 1, 1, 1]])
    lengths_N = torch.tensor([3, 5, 2, 7, 1, 4, 6, 2, 3, 3, 2, 5])
    logprobs_M = torch.linspace(-3, 0, int(lengths_N.sum())).requires_grad_()
    estimator: Any = ADVANTAGES[advantage]
    losses_M = Plugins().function("losses", AlgorithmSettings.model_validate(PRESET_WITH[loss]).loss)(
        logprobs_M=logprobs_M,
        old_logprobs_M=logprobs_M.detach(),
        sampler_logprobs_M=logprobs_M.detach(),
        advantages_M=to_tokens(estimator(rewards_PG).flatten(), lengths_N, len(logprobs_M)),
        lengths_N=lengths_N,
    )
    weights_M = to_tokens(REDUCTIONS[reduction](lengths_N, max_new_tokens=8), lengths_N, len(logprobs_M))
    return torch.autograd.grad((losses_M * weights_M).sum(), logprobs_M)[0]


LIMITS = {"threshold_low": 0.05, "threshold_high": 0.05}
PRESET_WITH: Mapping[str, Any] = {
    "clipped_surrogate": "dapo",
    "policy_gradient": "rloo",
    **{name: name for name in ("gspo", "cispo", "gmpo", "sapo")},
    "dppo_tv": "dppo",
    "dppo_kl": {"preset": "dppo", "loss": {"name": "dppo_kl", "params": LIMITS}},
}
"""A preset with each loss. Any: settings."""
