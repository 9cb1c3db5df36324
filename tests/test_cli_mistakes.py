"""Mistakes on the command line and in what it names: one message each, before torch is imported."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from reasonrl.errors import ModelError
from reasonrl.models import locate
from reasonrl.models.folder import context_length, require_model_folder

TINY = Path(locate("tiny"))
SCRIPT = """
import json, shlex, sys
from reasonrl import commands
for line in open('lines'):
    sys.argv = ['reasonrl', *shlex.split(line)]
    try:
        commands.main()
    except SystemExit as error:
        heavy = sorted({'torch', 'transformers', 'datasets', 'vllm'} & set(sys.modules))
        sys.stderr.write(f'\\x1eended {error.code} {heavy}\\x1e')
"""
RUN = "name: a\nmodel: tiny\ntask: arithmetic\ntemplate: plain\nrewards: [numeric_answer]\nrun: {steps: 3}\n"
SUITE = """\
suite: sums
role: test
source: {file: sums.jsonl}
metric: number_in_answer
sampling: {max_new_tokens: 8}
"""
PAIRS = "name: rm\nmodel: tiny\ntemplate: plain\ndata: {path: gone.jsonl}\nrun: {steps: 3}\n"

MISTAKES = [
    # names
    ("train quickstrat", "Did you mean 'quickstart'?"),
    ("train no_tokenizer", "no_tokenizer is a folder: name a recipe"),
    ("train gone.yaml", "gone.yaml: cannot read the run file: No such file"),
    ("train link.yaml", "link.yaml: cannot read the run file: it is a link to gone.yaml, which is not there"),
    ("train rm.yaml", "reasonrl rm train rm.yaml"),
    ("rm train run.yaml", "reasonrl train run.yaml"),
    ("train run.yaml task=arithmetik", "Did you mean 'arithmetic'?"),
    ("train run.yaml rewards=[numeric_anser]", "Did you mean 'numeric_answer'?"),
    ("train run.yaml algorithm=grop", "Did you mean 'grpo'?"),
    ("train run.yaml algorithm.loss=cispoo", "Did you mean 'cispo'?"),
    ("train run.yaml rollout.engine=vlm", "Did you mean 'vllm'?"),
    ("train run.yaml evaluation.suites=[arithmetc]", "Did you mean 'arithmetic'?"),
    ("train run.yaml template=plane", "Did you mean 'plain'?"),
    # parameters, those of functions that import torch too
    ("train run.yaml task.params.max_valu=3", "Did you mean 'max_value'?"),
    ("train run.yaml task.params.max_value=true", "'max_value': should be a number, got true"),
    ("train run.yaml algorithm.loss.params.clip_hgih=1", "Did you mean 'clip_high'?"),
    ("train run.yaml algorithm.loss.params.clip_low=x", "'clip_low': input should be a valid number"),
    ("train run.yaml algorithm.loss.params.clip_low=-1", "'clip_low': input should be greater than 0"),
    ("train run.yaml algorithm.loss.params.clip_low=true", "'clip_low': should be a number, got true"),
    ("train run.yaml algorithm.advantage.params.x=1", "'group_centered': unknown parameter 'x'"),
    ("train run.yaml 'algorithm.loss={name: ./loss.py:own, params: {scal: 1}}'", "Did you mean 'scale'?"),
    ("train run.yaml 'evaluation.suites=[{name: arithmetic, params: {x: 1}}]'", "unknown parameter 'x'"),
    ("train run.yaml rewards.0.params.x=1", "rewards: 'numeric_answer': unknown parameter 'x'"),
    # values
    ("train run.yaml run.steps=true", "run.steps: should be a number, got true"),
    ("train run.yaml learner.learning_rate=.inf", "should be a finite number, got inf"),
    ("train run.yaml num_generations=8", "Here it is rollout.samples_per_prompt"),
    ("train run.yaml rollout.samples_per_prompt=1", "use 2 or more (8 is a good start)"),
    ("train run.yaml rewards.0.weight=0", "every weight is 0"),
    ("train run.yaml rollout.max_new_tokens=1024", "can have 1024 tokens (tiny): use fewer"),
    ("train run.yaml vllm.max_model_len=9", "can have 9 tokens (vllm.max_model_len): use fewer"),
    # files
    ("train run.yaml 'task={name: jsonl, params: {path: gone.jsonl}}'", "gone.jsonl: cannot be read: No such file"),
    (
        "train run.yaml 'task={name: jsonl, params: {path: no_tokenizer}}'",
        "no_tokenizer: cannot be read: it is a folder",
    ),
    ("train run.yaml 'task={name: jsonl, params: {path: utf16.jinja}}'", "is not UTF-8 text, but UTF-16"),
    ("train run.yaml template=utf16.jinja", "the prompt template is not UTF-8 text, but UTF-16"),
    ("train run.yaml template=./no_tokenizer", "cannot read the prompt template: it is a folder"),
    ("train run.yaml model=./no_tokenizer", "has no tokenizer"),
    ("train run.yaml model=./nowhere", "there is no folder"),
    ("train run.yaml model=./classifier", "is BertForMaskedLM, and not a causal language model"),
    ("train run.yaml model=./short", "is damaged: it has 400000 bytes"),
    ("train run.yaml run.root=run.yaml", "cannot write run.yaml/a"),
    ("rm train rm.yaml", "gone.jsonl: cannot be read: No such file"),
    ("rm train rm.yaml model=./no_tokenizer", "has no tokenizer"),
    ("rm train rm.yaml template=plane", "Did you mean 'plain'?"),
    # the other commands
    ("plan run.yaml rewards=[numeric_anser]", "Did you mean 'numeric_answer'?"),
    ("plan run.yaml model=./no_tokenizer", "has no tokenizer"),
    ("plan run.yaml template=plane", "Did you mean 'plain'?"),
    ("sample run.yaml --out s.jsonl model=./no_tokenizer", "has no tokenizer"),
    ("sample run.yaml --out run.yaml", "was not made by reasonrl sample"),
    ("sample run.yaml --out run.yaml --overwrite", "was not made by reasonrl sample"),
    ("sample run.yaml --out no_tokenizer", "that is a folder"),
    ("sample run.yaml --out run.yaml/s.jsonl", "cannot write run.yaml/s.jsonl"),
    ("eval tiny --suite arithmetc", "Did you mean 'arithmetic'?"),
    ("eval ./no_tokenizer --suite arithmetic", "has no tokenizer"),
    ("eval tiny --suite arithmetic --template plane", "Did you mean 'plain'?"),
    ("eval tiny --suite arithmetic --temperature 0 --num-samples 4", "so all would be the same"),
    ("eval tiny --suite arithmetic --max-new-tokens 1024", "can have 1024 tokens (tiny): use fewer"),
    ("eval tiny --suite arithmetic --device gpu", "--device: 'gpu' is not a device"),
    ("eval tiny --suite arithmetic --out run.yaml", "that is a file"),
    ("eval tiny --suite arithmetic --out run.yaml/x", "cannot write run.yaml/x"),
    ("eval runs/gone --suite arithmetic", "Known: there"),
    ("eval tiny --suite arithmetic --engine vlm", "Did you mean 'vllm'?"),
    ("eval tiny --suite arithmetic --final", "--final is for test suites"),
    ("eval tiny --suite test.yaml --final --limit 3", "--final is for the record, but --limit"),
    ("eval tiny --suite arithmetic --suite arithmetic", "arithmetic is given more than once"),
    ("eval tiny --suite arithmetic --top-p 0", "--top-p: input should be greater than 0"),
    ("eval tiny --suite arithmetic --reward numeric_anser", "Did you mean 'numeric_answer'?"),
    ("eval tiny --suite arithmetic --data gone.jsonl", "unknown parameter 'data'"),
    ("eval tiny --suite gone.yaml", "gone.yaml: cannot read the suite file: No such file"),
    ("eval tiny --suite list.yaml", "list.yaml:1  suites.0.num_sample: unknown setting. Did you mean 'num_samples'?"),
    ("eval tiny --suite run.yaml", "run.yaml:1  name: unknown setting."),
    ("eval tiny --suite test.yaml --template plane", "Did you mean 'plain'?"),
    ("eval tiny --suite test.yaml --data gone.jsonl", "gone.jsonl: cannot be read: No such file"),
    ("train run.yaml 'evaluation.suites=[./test.yaml]' run.steps=0", "run.steps: input should be greater"),
    ("train run.yaml 'evaluation.suites=[./bad.yaml]'", "bad.yaml:4  metrc: unknown setting. Did you mean 'metric'?"),
    ("train run.yaml evaluation.batch_problems=4", "evaluation.batch_problems is now evaluation.max_concurrent"),
    ("suites show bad.yaml", "bad.yaml:4  metrc: unknown setting"),
]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give all the commands in one process and return what each said, and which modules were there after it."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "run.yaml").write_text(RUN)
    (folder / "rm.yaml").write_text(PAIRS)
    (folder / "test.yaml").write_text(SUITE)
    (folder / "bad.yaml").write_text(SUITE.replace("metric", "metrc"))
    (folder / "list.yaml").write_text("suites: [{name: arithmetic, num_sample: 3}]")
    (folder / "sums.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    (folder / "link.yaml").symlink_to("gone.yaml")
    (folder / "utf16.jinja").write_bytes("{{ prompt }}".encode("utf-16"))
    (folder / "loss.py").write_text("import torch\ndef own(logprobs_M, advantages_M, *, scale: float = 1.0): ...\n")
    (folder / "runs" / "there").mkdir(parents=True)
    (folder / "runs" / "there" / "manifest.json").write_text("{}")
    for name in ("no_tokenizer", "classifier", "short"):
        shutil.copytree(TINY, folder / name)
    for file in (folder / "no_tokenizer").glob("token*"):
        file.unlink()
    config = json.loads((TINY / "config.json").read_bytes())
    (folder / "classifier" / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    os.truncate(folder / "short" / "model.safetensors", 400_000)
    (folder / "lines").write_text("\n".join(line for line, _ in MISTAKES))
    environment = {**os.environ, "COLUMNS": "200"}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    parts = result.stderr.split("\x1e")
    assert result.stdout == ""
    return {line: f"{told}{ended}" for (line, _), told, ended in zip(MISTAKES, parts[::2], parts[1::2], strict=False)}


@pytest.mark.parametrize(("line", "expected"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_one_message_before_torch_is_imported(said: dict[str, str], line: str, expected: str) -> None:
    told = said[line]
    assert expected in told
    assert told.count("error: ") == 1
    assert "Traceback" not in told
    assert told.endswith("[]"), "a heavy module was imported"
    assert " ended 0 " not in f" {told}"


def test_the_commands_left_nothing_behind(said: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    (folder,) = tmp_path_factory.getbasetemp().glob("mistakes0")
    assert said
    assert {path.name for path in folder.iterdir()} == {
        *("run.yaml", "rm.yaml", "link.yaml", "utf16.jinja", "loss.py", "runs", "lines"),
        *("no_tokenizer", "classifier", "short", "test.yaml", "bad.yaml", "list.yaml", "sums.jsonl"),
    }


# Models in folders.


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def test_the_packaged_model_is_one_and_says_what_it_can_see(model: Path) -> None:
    require_model_folder(str(model))
    assert context_length(str(model)) == 1024


def damage_header(model: Path) -> None:
    content = bytearray((model / "model.safetensors").read_bytes())
    content[8:40] = b"x" * 32
    (model / "model.safetensors").write_bytes(content)


def index_of_missing_parts(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-00001.safetensors"}}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda model: (model / "config.json").unlink(), "has no config.json, so it is no model (it holds"),
        (lambda model: (model / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda model: (model / "config.json").write_text("{}"), "names no model_type"),
        (lambda model: (model / "config.json").write_text("[1]"), "names no model_type"),
        (lambda model: (model / "model.safetensors").unlink(), "has no weights"),
        (lambda model: (model / "model.safetensors").write_bytes(b""), "its header is not one of safetensors"),
        (lambda model: (model / "model.safetensors").write_bytes(b"version https://git-lfs"), "header is not one"),
        (damage_header, "its header is not one of safetensors"),
        (index_of_missing_parts, "lacks model-00001.safetensors, which model.safetensors.index.json names"),
        (lambda model: (model / "config.json").replace(model / "manifest.json"), "A run's model is one of its"),
    ],
)
def test_a_folder_that_is_no_whole_model_is_refused_with_what_it_lacks(model: Path, harm: object, said: str) -> None:
    assert callable(harm)
    harm(model)
    with pytest.raises(ModelError) as caught:
        require_model_folder(str(model))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_weights_that_are_missing_are_not_made_up(model: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from reasonrl.models.load import load_model

    weights = load_file(model / "model.safetensors")
    save_file(dict(sorted(weights.items())[:3]), model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks .* of the weights of a LlamaForCausalLM"):
        load_model(str(model), torch.device("cpu"))


# Disks.


def command(
    *arguments: str, folder: Path, limit_bytes: int | None = None, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Give a command in a folder, perhaps without the right to write larger files; return exit code and errors."""

    def limit() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    result = subprocess.run(
        [sys.executable, "-m", "reasonrl", *arguments],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    return result.returncode, result.stderr


@pytest.mark.parametrize("variable", ["HOME", "REASONRL_CACHE", "XDG_CACHE_HOME"])
def test_a_home_that_cannot_be_written_is_one_message(tmp_path: Path, variable: str) -> None:
    (tmp_path / "file").touch()
    place = str(tmp_path / "file" / "home")
    code, errors = command("models", "get", "smollm2-135m-instruct", folder=tmp_path, environment={variable: place})
    assert code == 5
    assert errors.startswith("error: cannot write ")
    assert len(errors.splitlines()) == 1
    assert command("models", "list", folder=tmp_path, environment={variable: place}) == (0, "")


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_one_message_that_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RUN.replace("steps: 3", "steps: 2"))
    code, errors = command("train", "run.yaml", "--plain", folder=tmp_path, limit_bytes=200_000)
    assert code == 5
    assert "Traceback" not in errors
    assert "then resume with: reasonrl train --resume runs/a" in errors
