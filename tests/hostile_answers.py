"""Answers that hang graders or run as code where a scorer lets them, and functions for a pool to grade them with."""

from collections.abc import Mapping
from itertools import product

from reasonrl.scoring.runner import Functions
from reasonrl_grading import compare_answers

CELLS = [[f"a_{{{i}{j}}}" for j in range(12)] for i in range(12)]
HANGS: Mapping[str, str] = {
    "tower plain": "9**9**9",
    "tower caret": "9^9^9",
    "tower latex": "9^{9^{9}}",
    "tower of four": "9^{9^{9^{9}}}",
    "big power": "7^{10000000}",
    "power with a billion": "3^{1000000000}",
    "power difference": "(10^{5000000}+1)(10^{5000000}-1)",
    "mod power": r"7^{123456789} \bmod 1000",
    "tower in brackets": r"\dfrac{5^{\left(5^{\left(5^{\left(5^5\right)}\right)}\right)}-1}{5^{5}-1}",
    "factorial 1e7": "10000000!",
    "factorial 1e9": "1000000000!",
    "factorial tower": "((10!)!)!",
    "binomial 1e7": r"\binom{20000000}{10000000}",
    "sum 1e8": r"\sum_{k=1}^{100000000} \frac{1}{k^3+k+1}",
    "product 1e6": r"\prod_{k=1}^{1000000} k",
    "hard integral": r"\int_0^1 \frac{\sin(x^3)\ln(1+x^5)}{\sqrt{1+x^7}} dx",
    "limit": r"\lim_{n\to\infty} \sqrt[n]{n!} / n",
    "nested roots": r"\sqrt{2+" * 40 + "2" + "}" * 40,
    "sine of big": r"\sin(10^{1000000})",
    "polynomial powers": "(x+y+z+1)^{200} - (x+y+z+1)^{199}",
    "roots to denest": r"\sqrt[3]{2+\sqrt{5}} + \sqrt[3]{2-\sqrt{5}} + \sqrt{5+2\sqrt{6}} - \sqrt{2} - \sqrt{3}",
    "transcendental equation": r"x^7 - 3x^5y + y^6 = \sin(xy)",
    "gcd of big": r"\gcd(2^{100000}-1, 3^{100000}-1)",
    "logarithm of a tower": r"\log_{2}(2^{2^{100}})",
    "a million digits": "1" * 1_000_000,
    "deep brackets": "(" * 3000 + "7" + ")" * 3000,
    "deep fraction": r"\frac{1}{1+" * 200 + "1" + "}" * 200,
    "matrix power": r"\begin{pmatrix}1&1\\1&0\end{pmatrix}^{100000}",
    "determinant": r"\det\begin{pmatrix}" + r"\\".join("&".join(row) for row in CELLS) + r"\end{pmatrix}",
    "long set": r"\{" + ",".join(rf"x^{{{k}}}+\sqrt{{{k}}}" for k in range(60)) + r"\}",
    "unclosed boxes": r"\boxed{" * 3000 + "7",
    "dollar flood": "$x" * 20_000,
    "answer flood": "answer " * 20_000 + "7",
    "float tower": "1.0000001^{1.5^{1.7^{9.9^{9.9}}}}",
    "gamma": r"\Gamma(10000000)",
    "zeta": r"\zeta(3.5)^{99999999}",
}
"""What keeps one scorer or another busy for longer than anybody waits."""

FLOODS = ("deep brackets", "unclosed boxes", "answer flood")
"""Those that a reader of good will may read as 7."""

PARTNERS: Mapping[str, str] = {
    "power difference": "10^{10000000}-1",
    "polynomial powers": "(x+y+z+1)^{199}(x+y+z)",
    "roots to denest": "1",
    "transcendental equation": r"x^7 - 3x^5y + y^6 - \sin(xy) = 0",
    "determinant": "0",
    "matrix power": r"\begin{pmatrix}1&0\\0&1\end{pmatrix}",
}
"""Wanted answers that make a scorer look closely; 7 for the others."""

CODE = (
    "__import__('os').system('touch {0}')",
    "exec(\"open('{0}','w')\")",
    "eval(\"open('{0}','w')\")",
    "(lambda: open('{0}','w'))()",
    "[__import__('os').system('touch {0}'),1]",
    "open('{0}','w')",
    "open('{0}','w')#\\pi 1",
    "[open('{0}','w'),1]",
    "[c for c in ().__class__.__base__.__subclasses__() if c.__name__ == 'Popen'][0](['touch','{0}'])",
    "().__class__.__mro__[1].__subclasses__()",
    "f\"{{open('{0}','w')}}\"",
    "Symbol('x').__class__.__init__.__globals__['__builtins__']['open']('{0}','w')",
    "lambdify(x, \"open('{0}','w')\")(1)",
    "sympify(\"open('{0}','w')\")",
    "Integer(7) if open('{0}','w') else 8",
    "Symbol('x', **{{'a': open('{0}','w')}})",
    "Function('open')('{0}','w')",
    "numpy.fromfile('{0}'); numpy.ones(1).tofile('{0}')",
    "__builtins__.open('{0}','w')",
    "globals()['__builtins__']['open']('{0}','w')",
    "getattr(__import__('os'),'sys'+'tem')('touch {0}')",
    "7 + __import__('os').system('touch {0}')",
    "x = 7 if __import__('os').system('touch {0}') == 0 else 7",
    "7; import os; os.system('touch {0}')",
    '\\input{{|"touch {0}"}}',
    "\\immediate\\write18{{touch {0}}}",
    "\\text{{$(touch {0})}}",
    "$(touch {0})",
    "`touch {0}`",
    "7 | touch {0}",
    "\\sqrt{{__import__('os').system('touch {0}')}}",
    "\\frac{{open('{0}','w')}}{{1}}",
    "\\begin{{pmatrix}}open('{0}','w')&1\\\\1&1\\end{{pmatrix}}",
    "\\pi*open('{0}','w')",
    "\\{{open('{0}','w'), 2\\}}",
    "(open('{0}','w'), 2)",
    "print(open('{0}','w'))",
    "{{{{ cycler.__init__.__globals__.os.popen('touch {0}').read() }}}}",
    "cos\nsystem\n(S'touch {0}'\ntR.",
    "!!python/object/apply:os.system ['touch {0}']",
    "breakpoint()",
    "exit()",
    "quit(7)",
    "raise SystemExit",
    "__import__('os')._exit(0)",
)
"""Code in several languages that would make the file {0}, or end the process."""

WRAPPINGS = ("{}", r"\boxed{{{}}}", "${}$", r"\text{{{}}}", "The answer is {}.")


def payloads(marker: str) -> list[str]:
    """Return every piece of code in every place where an answer may stand."""
    return [wrapping.format(code.format(marker)) for code, wrapping in product(CODE, WRAPPINGS)]


def grade(given: str, wanted: str) -> bool | None:
    """Grade as a run does."""
    return compare_answers(given, wanted, symbolic=True).right


def load() -> Functions:
    """Return the grader for a pool, warmed up."""
    grade(r"\int_0^\infty e^{-x} dx", r"\int_0^\infty e^{-x} dx + 0")
    return {"reasonrl": grade}
