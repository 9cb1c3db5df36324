"""How a model is computed is chosen by rates that are measured once, recorded, and kept when the run is resumed."""

import json
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
import torch
from builders import run_config, small_llama
from transformers import LlamaConfig

from reasonrl.config.settings import ModelSettings
from reasonrl.errors import RunError
from reasonrl.models import rates
from reasonrl.models.compute import Choice, Compute, Work, choose_by_rates, choose_compute
from reasonrl.models.rates import Product, Rates, products_of, rates_file, rates_of
from reasonrl.plugins.lookup import Plugins
from reasonrl.run import computing, start
from reasonrl.run.computing import choice_lines, described, run_choice
from reasonrl.run.files.directory import RunDirectory

CPU = torch.device("cpu")
STEP = Work(sampled=1.0, learned=3.0, rows=64)
"""A step of training with 64 completions."""
SAMPLING = Work(sampled=1.0)
"""An evaluation."""
PLAIN = {1: 25.0, 4: 63.0, 16: 150.0, 64: 224.0, 256: 320.0, 1024: 336.0}
"""float32 on a CPU with AVX-512, as its bfloat16 is below."""
HALF_AS_FAST = {1: 27.0, 4: 79.0, 16: 120.0, 64: 159.0, 256: 180.0, 1024: 181.0}


def rates_with(**by_format: dict[int, float]) -> Rates:
    """Rates by format, with an underscore in its name."""
    return Rates({name.replace("_", " "): rates for name, rates in by_format.items()})


def faster(rates: dict[int, float], factor: float) -> dict[int, float]:
    return {rows: factor * rate for rows, rate in rates.items()}


def choose(found: Rates, asked: str = "auto", *, fast: bool = True, work: Work = STEP) -> Choice:
    return choose_by_rates(found, ModelSettings(name="x", compute_dtype=asked).compute_dtype, fast=fast, work=work)


def test_bfloat16_is_chosen_only_where_it_makes_the_whole_step_faster() -> None:
    half = rates_with(float32=PLAIN, bfloat16=HALF_AS_FAST)
    four_times = rates_with(float32=PLAIN, bfloat16=faster(PLAIN, 4))
    assert choose(half).compute.dtype == torch.float32
    assert choose(four_times).compute.dtype == torch.bfloat16
    # Twice as fast with few rows, as fast as before with many: worth it to sample four completions, not to learn.
    few = {rows: rate * (2 if rows < 16 else 0.9) for rows, rate in PLAIN.items()}
    few_rows = rates_with(float32=PLAIN, bfloat16=few)
    assert choose(few_rows, work=Work(sampled=1.0, rows=4)).compute.dtype == torch.bfloat16
    assert choose(few_rows, work=Work(learned=1.0)).compute.dtype == torch.float32


def test_a_processor_without_instructions_for_bfloat16_stays_with_float32() -> None:
    found = choose(rates_with(float32=PLAIN))
    assert found.compute.dtype == torch.float32
    assert found.reason == "this processor has no instructions for bfloat16"


def test_a_difference_that_measuring_could_have_made_changes_nothing() -> None:
    assert choose(rates_with(float32=PLAIN, bfloat16=faster(PLAIN, 1.05))).compute.dtype == torch.float32


def test_a_type_that_is_asked_for_is_taken_and_one_that_is_slower_is_warned_of_with_the_ratio() -> None:
    half = rates_with(float32=PLAIN, bfloat16=faster(PLAIN, 0.5))
    asked = choose(half, "bfloat16")
    assert asked.compute.dtype == torch.bfloat16
    assert asked.warnings == ("products are in bfloat16, but float32 would be 2.00x as fast on this processor",)
    four_times = rates_with(float32=PLAIN, bfloat16=faster(PLAIN, 4))
    assert choose(four_times, "float32").compute.dtype == torch.float32
    assert not choose(four_times, "bfloat16").warnings
    assert choose(rates_with(float32=PLAIN), "bfloat16").warnings


def test_weights_are_packed_where_that_is_faster_at_the_rows_of_the_run() -> None:
    few = {rows: rate * (1.5 if rows <= 16 else 1) for rows, rate in PLAIN.items() if rows <= 256}
    found = rates_with(float32=PLAIN, float32_packed=few)
    assert choose(found, work=Work(sampled=1.0, rows=4)).compute.packed
    assert not choose(found, work=Work(sampled=1.0, rows=256)).compute.packed
    assert not choose(found, work=Work(learned=1.0)).compute.packed
    assert not choose(found, fast=False, work=Work(sampled=1.0, rows=4)).compute.packed


def test_as_few_rows_are_sampled_at_once_as_are_nearly_as_fast_as_any() -> None:
    flat = {1: 50.0, 4: 150.0, 16: 290.0, 64: 310.0, 256: 315.0, 1024: 330.0}
    assert choose(rates_with(float32=flat), work=SAMPLING).compute.rows == 16
    assert choose(rates_with(float32=PLAIN), work=SAMPLING).compute.rows == 256
    assert choose(rates_with(float32=PLAIN), work=Work(learned=1.0)).compute.rows is None


def test_rates_between_measured_rows_lie_between_theirs() -> None:
    found = rates_with(float32={1: 10.0, 4: 30.0, 16: 50.0})
    at = [found.rate(torch.float32, rows) for rows in (1, 2, 4, 8, 16, 1000)]
    assert at == pytest.approx([10.0, 20.0, 30.0, 40.0, 50.0, 50.0])


def test_a_small_model_is_float32_and_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasonrl.models.compute.rates_of", lambda _: pytest.fail("it was measured"))
    found = choose_compute(small_llama().config, CPU, work=STEP)
    assert (found.compute, found.rates) == (Compute(), None)
    assert choose_compute(small_llama().config, CPU, asked="bfloat16", work=STEP).compute.dtype == torch.bfloat16


CONFIG = LlamaConfig(
    vocab_size=96,
    hidden_size=512,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=8,
    num_key_value_heads=2,
)


def test_the_products_of_a_model_are_those_of_its_joined_layers() -> None:
    assert products_of(CONFIG) == (
        Product(512 + 2 * 128, 512, 3),
        Product(512, 512, 3),
        Product(2 * 64, 512, 3),
        Product(512, 64, 3),
        Product(96, 512, 1),
    )


@pytest.fixture
def measured(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Rates]:
    """Every measurement, in a cache of the test's own; each finds half the rates of the one before.

    The parameter says whether the machine is busy.
    """
    monkeypatch.setenv("REASONRL_CACHE", str(tmp_path))
    made: list[Rates] = []
    busy = bool(getattr(request, "param", False))

    def measure(_: object) -> Rates:
        by_format = {name: dict.fromkeys(rates._rows_of(name), 8.0 / 2 ** len(made)) for name in rates._formats()}
        made.append(Rates(by_format, is_settled=not busy))
        return made[-1]

    monkeypatch.setattr(rates, "measure_rates", measure)
    return made


def kept(folder: Path) -> Path:
    (file,) = (folder / "rates").iterdir()
    return file


def test_rates_are_measured_once_for_a_machine_and_a_shape(measured: list[Rates], tmp_path: Path) -> None:
    assert rates_of(CONFIG) == rates_of(CONFIG)
    assert len(measured) == 1
    rates_of(LlamaConfig(**{**CONFIG.to_dict(), "intermediate_size": 128}))
    assert len(measured) == 2


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"machine": {}}', "nan"])
def test_a_damaged_file_is_measured_anew(measured: list[Rates], tmp_path: Path, damage: str) -> None:
    rates_of(CONFIG)
    file = kept(tmp_path)
    file.write_text(damage if damage != "nan" else file.read_text().replace("8.0", "NaN", 1))
    assert rates_of(CONFIG).gflops["float32"][1] == 4.0
    assert rates_of(CONFIG).gflops["float32"][1] == 4.0, "the file is whole again"


def test_the_file_of_another_machine_is_not_taken(measured: list[Rates], tmp_path: Path) -> None:
    rates_of(CONFIG)
    content = json.loads(kept(tmp_path).read_text())
    content["machine"]["cpu"] = "another"
    assert rates_file(content["machine"]) != kept(tmp_path)
    kept(tmp_path).write_text(json.dumps(content))
    assert rates_of(CONFIG).gflops["float32"][1] == 4.0


def test_a_cache_that_cannot_be_written_costs_the_measurement_only(
    measured: list[Rates], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REASONRL_CACHE", str(tmp_path / "file"))
    assert rates_of(CONFIG).gflops["float32"][1] == 8.0


@pytest.mark.parametrize("measured", [True], indirect=True, ids=["busy"])
def test_rates_of_a_busy_machine_decide_nothing_and_a_plan_measures_them_again(
    measured: list[Rates], monkeypatch: pytest.MonkeyPatch
) -> None:
    for has_tiles, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has_tiles=has_tiles: {"amx_bf16": has_tiles})
        found = [choose_compute(CONFIG, CPU, work=STEP, again=again) for again in (False, False, True)]
        assert [each.compute for each in found] == 3 * [Compute(dtype=dtype)]
        assert "the machine was busy" in found[0].reason
    assert len(measured) == 2 + 2, "the second run takes the file, and so does not differ from the first"


def test_the_real_measurement_leaves_the_random_generators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "LIMIT_S", 0.0)
    before = torch.get_rng_state()
    found = rates.measure_rates(products_of(CONFIG))
    assert torch.equal(before, torch.get_rng_state())
    assert found.gflops.keys() == set(rates._formats())
    assert all(rate > 0 for by_rows in found.gflops.values() for rate in by_rows.values())


def test_a_choice_survives_its_record_and_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computing, "choose_compute", lambda *_, **__: pytest.fail("it was chosen again"))
    compute = Compute(dtype=torch.bfloat16, fast=False, packed=True, rows=16)
    record = json.loads(json.dumps(compute.record()))
    assert Compute.of_record(record) == compute
    assert run_choice(run_config(), "tiny", CPU, record).compute == compute


def test_the_settings_of_a_run_reach_its_choice() -> None:
    assert run_choice(run_config(), "tiny", CPU, None).compute == Compute()
    of = run_config(model={"name": "tiny", "compute_dtype": "bfloat16", "fast_path": False})
    assert run_choice(of, "tiny", CPU, None).compute == Compute(dtype=torch.bfloat16, fast=False)
    rounded = run_config(model={"name": "tiny", "weights_dtype": "bfloat16"})
    assert run_choice(rounded, "tiny", CPU, None).compute.dtype == torch.bfloat16


def test_the_path_is_named_with_the_reason_against_the_fast_one() -> None:
    model = small_llama()
    assert described(Compute(), model) == "float32 products, fast path"
    assert described(Compute(dtype=torch.bfloat16, packed=True), model) == (
        "bfloat16 products, fast path, packed weights for sampling"
    )
    assert described(Compute(fast=False), model) == (
        "float32 products, by transformers' forward pass: model.fast_path is false"
    )
    model.config.hidden_act = "relu"
    assert described(Compute(), model).endswith("by transformers' forward pass: its activation is relu")


def test_a_plan_shows_the_choice_its_reason_and_the_rates_by_format() -> None:
    found = choose(rates_with(float32=PLAIN, bfloat16=HALF_AS_FAST), work=SAMPLING)
    assert list(choice_lines(found, small_llama())) == [
        "products   float32 products, fast path (bfloat16 is 0.56x as fast); at most 256 completions are sampled at "
        "once",
        "rates      10^9 operations a second with 1, 4, 16, 64, 256 and 1024 rows, as in None",
        "           float32          25  63  150  224  320  336",
        "           bfloat16         27  79  120  159  180  181",
    ]


def test_a_run_records_its_choice_once_and_a_resumed_one_is_given_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config(run={"steps": 1, "root": str(tmp_path)})
    run = RunDirectory.create(config, "", environment={}, argv=[])
    chosen = Compute(dtype=torch.bfloat16, rows=16)
    run.record_compute(chosen.record())
    run.record_compute(Compute().record())
    again = RunDirectory.open(run.path)
    assert again.manifest.compute == chosen.record()
    given: list[object] = []

    class Prepared:
        def load(self, checkpoint: Path | None, rate_factor: float, compute: object) -> NoReturn:
            given.append(compute)
            raise RunError("loaded")

    for directory in (again, None):
        with pytest.raises(RunError, match="loaded"):
            start._train_to_end(config, cast(Any, Prepared()), Plugins(), [], cast(Any, None), directory, start=0)
    assert given == [chosen.record(), None]
