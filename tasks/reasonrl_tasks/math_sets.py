"""The published sets of mathematical problems that tasks and suites read, as data: adding one is adding an entry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from reasonrl_tasks.answers import (
    after_hashes,
    box_or_whole,
    contest_integer,
    ground_truth,
    last_box,
    one_or_several,
    whole,
    whole_number,
)
from reasonrl_tasks.catalog import CatalogEntry
from reasonrl_tasks.sources import HubSource

ReadAnswer: TypeAlias = Callable[[str, str, object], str]
"""Reads an answer from a row's place, a column's name and its value; see :mod:`reasonrl_tasks.answers`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MathSet:
    """A published set of problems, with the copies of it that differ in their columns."""

    entry: CatalogEntry
    question: tuple[str, ...]
    """Columns that may hold the question, a text or messages; the first that a row has is read."""
    answer: Mapping[str, ReadAnswer]
    """Columns that may hold the answer, and how it is read from each; the first that a row has is read."""
    train: tuple[HubSource, ...] = ()
    """Copies of the problems to train on; none where all are held out."""
    heldout: tuple[HubSource, ...] = ()
    """Copies of the problems that are held out by its authors; none where a share of ``train`` has to be."""
    num_unanswered: int = 0
    """Rows of ``train`` that are known to have no answer in a published copy: as many are passed over."""
    around: tuple[tuple[str, str], ...] = ()
    """Instructions that stand before and after the question in its column."""
    left_out: tuple[str, ...] = ()
    """Columns too large to keep in ``meta``, such as completions of a model."""


WHOLE: Final[Mapping[str, ReadAnswer]] = {"answer": whole}
CONTEST: Final[Mapping[str, ReadAnswer]] = {
    "answer": contest_integer,
    "Answer": contest_integer,
    "solution": contest_integer,
}
QUESTIONS: Final = ("problem", "question", "Problem", "Question")
MATH_SUBJECTS: Final = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)

DAPO_AROUND: Final = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\n",
    '\n\nRemember to put your answer on its own line after "Answer:".',
)

LONG_REASONING: Final = (
    "0 shots; DeepSeek-R1 (arXiv:2501.12948): avg@64, temperature 0.6, top_p 0.95, 32,768 tokens; DAPO "
    "(arXiv:2503.14476): avg@32, temperature 1.0, top_p 0.7, 20,480 tokens"
)
GREEDY: Final = "0 shots, greedy, one completion (Qwen2.5-Math, arXiv:2409.12122)"
ACCURACY: Final = "accuracy of the final answer"
TRAINED_ON: Final = "none: a training set"

GSM8K: Final = MathSet(
    entry=CatalogEntry(
        source="openai/gsm8k",
        license="MIT",
        size="7,473 train, 1,319 test",
        paper="arXiv:2110.14168",
        metric="accuracy of the final number",
        protocol="greedy, one completion; 0 shots for chat models, 8 (arXiv:2201.11903) or 5 for base models",
    ),
    question=("question",),
    answer={"answer": after_hashes},
    train=(HubSource("openai/gsm8k", "main", "train", files=("gsm8k_train*",)),),
    heldout=(HubSource("openai/gsm8k", "main", "test", files=("gsm8k_test*",)),),
)

MATH: Final = MathSet(
    entry=CatalogEntry(
        source="DigitalLearningGmbH/MATH-lighteval; copy: EleutherAI/hendrycks_math",
        license="MIT",
        size="7,500 train, 5,000 test",
        paper="arXiv:2103.03874",
        metric=ACCURACY,
        protocol="greedy, one completion; 0 shots for chat models, 4 (arXiv:2206.14858) for base models",
    ),
    question=QUESTIONS,
    answer={"answer": whole, "solution": last_box},
    num_unanswered=4,
    train=(
        HubSource("DigitalLearningGmbH/MATH-lighteval", "default", "train", files=("math_train*", "data/train-*")),
        HubSource("EleutherAI/hendrycks_math", None, "train", parts=MATH_SUBJECTS),
    ),
    heldout=(
        HubSource("DigitalLearningGmbH/MATH-lighteval", "default", "test", files=("math_test*", "data/test-*")),
        HubSource("EleutherAI/hendrycks_math", None, "test", parts=MATH_SUBJECTS),
    ),
)

MATH500: Final = MathSet(
    entry=CatalogEntry(
        source="HuggingFaceH4/MATH-500; copy: math-ai/math500",
        license="not stated; MATH is MIT",
        size="500 test",
        paper="arXiv:2305.20050",
        metric=ACCURACY,
        protocol="0 shots; greedy, one completion; for long reasoning temperature 0.6, top_p 0.95, 32,768 tokens",
    ),
    question=QUESTIONS,
    answer={"answer": whole, "solution": last_box},
    heldout=(
        HubSource("HuggingFaceH4/MATH-500", None, "test", files=("math500*", "MATH-500*", "MATH500*")),
        HubSource("math-ai/math500", None, "test"),
    ),
)

AIME24: Final = MathSet(
    entry=CatalogEntry(
        source="HuggingFaceH4/aime_2024; copies: Maxwell-Jia/AIME_2024, math-ai/aime24",
        license="not stated",
        size="30 (AIME I and II of 2024)",
        paper="https://maa.org/maa-invitational-competitions/",
        metric=ACCURACY,
        protocol=LONG_REASONING,
    ),
    question=QUESTIONS,
    answer=CONTEST,
    heldout=(
        HubSource("HuggingFaceH4/aime_2024", None, "train", files=("*aime*24*", "*")),
        HubSource("Maxwell-Jia/AIME_2024", None, "train"),
        HubSource("math-ai/aime24", None, "test"),
    ),
)

AIME25: Final = MathSet(
    entry=CatalogEntry(
        source="math-ai/aime25; copies: MathArena/aime_2025, yentinglin/aime_2025, opencompass/AIME2025",
        license="not checked; of copies: CC BY-NC-SA 4.0 (MathArena), MIT (opencompass)",
        size="30 (AIME I and II of 2025)",
        paper="https://maa.org/maa-invitational-competitions/",
        metric=ACCURACY,
        protocol=LONG_REASONING,
    ),
    question=QUESTIONS,
    answer=CONTEST,
    heldout=(
        HubSource("math-ai/aime25", None, "test", files=("*aime*25*", "*")),
        HubSource("MathArena/aime_2025", None, "train"),
        HubSource("yentinglin/aime_2025", None, "train"),
        HubSource("opencompass/AIME2025", None, "test", parts=("AIME2025-I", "AIME2025-II")),
    ),
)

AIME26: Final = MathSet(
    entry=CatalogEntry(
        source="MathArena/aime_2026; copy: math-ai/aime26",
        license="CC BY-NC-SA 4.0",
        size="30 (AIME I and II of 2026)",
        paper="https://matharena.ai",
        metric=ACCURACY,
        protocol=LONG_REASONING,
    ),
    question=QUESTIONS,
    answer=CONTEST,
    heldout=(
        HubSource("MathArena/aime_2026", None, "train", files=("*aime*26*", "*")),
        HubSource("math-ai/aime26", None, "test"),
    ),
)

AMC: Final = MathSet(
    entry=CatalogEntry(
        source="AI-MO/aimo-validation-amc; math-ai/amc23 is the part of 2023",
        license="Apache-2.0",
        size="83 (AMC 12 of 2022 and 2023), or 40 (2023)",
        paper="https://maa.org/maa-invitational-competitions/",
        metric=ACCURACY,
        protocol="0 shots; as AIME, with 8 to 64 completions; greedy in older papers",
    ),
    question=QUESTIONS,
    answer={"answer": whole_number},
    heldout=(
        HubSource("AI-MO/aimo-validation-amc", None, "train", files=("*amc*", "*")),
        HubSource("math-ai/amc23", None, "test"),
    ),
)

HMMT: Final = MathSet(
    entry=CatalogEntry(
        source="MathArena/hmmt_feb_2025; others: MathArena/hmmt_nov_2025, MathArena/hmmt_feb_2026",
        license="CC BY-NC-SA 4.0",
        size="30 (February 2025), 30 (November 2025), 33 (February 2026)",
        paper="arXiv:2505.23281",
        metric=ACCURACY,
        protocol="0 shots; MathArena: avg@4 at the settings that a model's authors recommend; others as AIME",
    ),
    question=QUESTIONS,
    answer=WHOLE,
    heldout=(
        HubSource("MathArena/hmmt_feb_2025", None, "train", files=("*hmmt_feb_2025*", "*")),
        HubSource("MathArena/hmmt_nov_2025", None, "train"),
        HubSource("MathArena/hmmt_feb_2026", None, "train"),
    ),
)

OLYMPIADBENCH: Final = MathSet(
    entry=CatalogEntry(
        source="Hothan/OlympiadBench (OE_TO_maths_en_COMP); copy: math-ai/olympiadbench",
        license="Apache-2.0",
        size="674 (open-ended, text only, English, mathematics)",
        paper="arXiv:2402.14008",
        metric="accuracy of all final answers, within the stated error",
        protocol=GREEDY,
    ),
    question=QUESTIONS,
    answer={"final_answer": one_or_several, "answer": one_or_several},
    heldout=(
        HubSource(
            "Hothan/OlympiadBench", "OE_TO_maths_en_COMP", "train", files=("*OE_TO_maths_en_COMP*", "*olympiadbench*")
        ),
        HubSource("math-ai/olympiadbench", None, "test"),
    ),
)

MINERVA: Final = MathSet(
    entry=CatalogEntry(
        source="math-ai/minervamath; copy: knoveleng/Minerva-Math",
        license="not stated",
        size="272",
        paper="arXiv:2206.14858",
        metric="accuracy of the final answer, numbers within 1 %",
        protocol=f"4 shots in the paper; {GREEDY}",
    ),
    question=QUESTIONS,
    answer={"answer": whole, "solution": last_box},
    heldout=(
        HubSource("math-ai/minervamath", None, "test", files=("*minerva*", "*")),
        HubSource("knoveleng/Minerva-Math", None, "train"),
    ),
)

DAPO17K: Final = MathSet(
    entry=CatalogEntry(
        source="BytedTsinghua-SIA/DAPO-Math-17k; copy: open-r1/DAPO-Math-17k-Processed",
        license="Apache-2.0",
        size="some 17,000 distinct of 1.79 million rows; the copy has 14,116 in English",
        paper="arXiv:2503.14476",
        metric=ACCURACY,
        protocol=TRAINED_ON,
    ),
    question=("prompt", "problem", "question"),
    answer={"reward_model": ground_truth, "answer": whole, "solution": box_or_whole},
    train=(
        HubSource("BytedTsinghua-SIA/DAPO-Math-17k", None, "train", files=("dapo-math-17k.parquet",)),
        HubSource("open-r1/DAPO-Math-17k-Processed", "all", "train", files=("all/train-*",)),
    ),
    around=(DAPO_AROUND,),
    left_out=("source_prompt",),
)

DEEPSCALER: Final = MathSet(
    entry=CatalogEntry(
        source="agentica-org/DeepScaleR-Preview-Dataset",
        license="MIT",
        size="some 40,300 train, 6 without an answer",
        paper="https://github.com/agentica-project/rllm",
        metric=ACCURACY,
        protocol=TRAINED_ON,
    ),
    question=QUESTIONS,
    answer={"answer": whole, "solution": last_box},
    num_unanswered=6,
    train=(HubSource("agentica-org/DeepScaleR-Preview-Dataset", None, "train", files=("deepscaler.json",)),),
)

BIGMATH: Final = MathSet(
    entry=CatalogEntry(
        source="SynthLabsAI/Big-Math-RL-Verified",
        license="not stated for the whole; by source, see its card",
        size="251,122 train",
        paper="arXiv:2502.17387",
        metric=ACCURACY,
        protocol=TRAINED_ON,
    ),
    question=QUESTIONS,
    answer=WHOLE,
    train=(HubSource("SynthLabsAI/Big-Math-RL-Verified", None, "train"),),
)

OPENR1_MATH: Final = MathSet(
    entry=CatalogEntry(
        source="open-r1/OpenR1-Math-220k",
        license="Apache-2.0",
        size="93,733 train (its configuration default)",
        paper="https://github.com/huggingface/open-r1",
        metric=ACCURACY,
        protocol=TRAINED_ON,
    ),
    question=QUESTIONS,
    answer=WHOLE,
    train=(HubSource("open-r1/OpenR1-Math-220k", "default", "train", files=("data/train-*",)),),
    left_out=("generations", "messages"),
)

EURUS2: Final = CatalogEntry(
    source="PRIME-RL/Eurus-2-RL-Data",
    license="MIT",
    size="482,019 train (455,261 of mathematics), 2,048 validation (1,024)",
    paper="arXiv:2502.01456",
    metric="accuracy of the final answer; programs that pass all tests",
    protocol=TRAINED_ON,
)

SETS: Final[Mapping[str, MathSet]] = {
    "gsm8k": GSM8K,
    "math": MATH,
    "math500": MATH500,
    "aime24": AIME24,
    "aime25": AIME25,
    "aime26": AIME26,
    "amc": AMC,
    "hmmt": HMMT,
    "olympiadbench": OLYMPIADBENCH,
    "minerva": MINERVA,
    "dapo17k": DAPO17K,
    "deepscaler": DEEPSCALER,
    "bigmath": BIGMATH,
    "openr1_math": OPENR1_MATH,
}
"""By the name of the task, and of the suite where it has held-out problems."""
