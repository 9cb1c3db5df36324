"""Compare two parsed answers, by what kind of answer each is."""

from collections.abc import Callable, Mapping

from flint import fmpq

from reasonrl_grading.algebra import has_value, same_expressions
from reasonrl_grading.compare_units import same_clocks, same_quantities, same_ratios
from reasonrl_grading.logic import Truth, every, some
from reasonrl_grading.nodes import (
    INFINITY,
    REALS,
    UNBRACKETED,
    BasedNumber,
    Call,
    Choice,
    Clock,
    Collection,
    Matrix,
    Node,
    Number,
    Piecewise,
    Power,
    Product,
    Quantity,
    Ratio,
    Relation,
    SetExpression,
    Sum,
    Symbol,
    Table,
    Words,
)
from reasonrl_grading.piecewise import same_piecewise
from reasonrl_grading.realsets import describes_set, same_sets
from reasonrl_grading.relations import (
    assigned_value,
    is_relation,
    named_values,
    same_as_named,
    same_relations,
    same_residues,
)
from reasonrl_grading.rules import Rules
from reasonrl_grading.words import SYNONYMS

_SYMBOLIC_WORDS: Mapping[str, Node] = {
    "all real numbers": REALS,
    "infinity": INFINITY,
    "no solution": Collection("{}", ()),
    "empty set": Collection("{}", ()),
}
_EXPRESSIONS = frozenset({Number, Symbol, Sum, Product, Power, Call})
_ANGLED_AS_ROUND = {"<>": "()"}


def same_answers(given: Node, wanted: Node, rules: Rules) -> Truth:
    """Whether two whole answers are the same; a set of one item equals the item. None where it is undecided."""
    if _is_singleton(given) != _is_singleton(wanted):
        if rules.policy.assignment == "drop" and is_relation(given) != is_relation(wanted):
            given, wanted = assigned_value(given, rules), assigned_value(wanted, rules)
        given, wanted = _only_item(given, wanted), _only_item(wanted, given)
    return same(given, wanted, rules)


def _is_singleton(node: Node) -> bool:
    return isinstance(node, Collection) and node.bracket == "{}" and len(node.items) == 1


def _only_item(node: Node, other: Node) -> Node:
    """Return the item of a set of one where the other answer is neither a list nor a relation."""
    is_plain = not isinstance(other, Collection | Relation | SetExpression) and other != REALS
    if is_plain and isinstance(node, Collection) and _is_singleton(node) and not isinstance(node.items[0], Relation):
        return node.items[0]
    return node


def same(given: Node, wanted: Node, rules: Rules) -> Truth:
    """Whether two answers, or parts of answers, are the same; None where it is undecided."""
    if type(given) in _EXPRESSIONS and type(wanted) in _EXPRESSIONS:
        return _same_values(given, wanted, rules)
    if rules.policy.assignment == "drop" and is_relation(given) != is_relation(wanted):
        return _same_unnamed(given, wanted, rules)
    return _same_kinds(given, wanted, rules)


def _same_kinds(given: Node, wanted: Node, rules: Rules) -> Truth:
    if isinstance(given, Choice) or isinstance(wanted, Choice):
        return _same_choices(given, wanted, rules)
    if isinstance(given, Words) or isinstance(wanted, Words):
        return _same_words(given, wanted, rules)
    if isinstance(given, BasedNumber) or isinstance(wanted, BasedNumber):
        return _same_based(given, wanted, rules)
    return _same_structures(given, wanted, rules)


def _same_unnamed(given: Node, wanted: Node, rules: Rules) -> Truth:
    """Compare where only one side names what it says: by the values alone."""
    named, other = (given, wanted) if is_relation(given) else (wanted, given)
    values = named_values(named, rules)
    if values is not None:
        return same_as_named(values, other, rules)
    value = assigned_value(named, rules)
    return _same_kinds(*((value, other) if named is given else (other, value)), rules)


def _same_structures(given: Node, wanted: Node, rules: Rules) -> Truth:
    if describes_set(given) or describes_set(wanted):
        are_same = same_sets(given, wanted)
        if are_same is not None:
            return are_same
    for kind, compare in _COMPARISONS:
        if isinstance(given, kind) or isinstance(wanted, kind):
            return compare(given, wanted, rules)
    return _same_values(given, wanted, rules)


def _same_values(given: Node, wanted: Node, rules: Rules) -> Truth:
    truth = same_expressions(given, wanted, rules.policy)
    return truth if truth is not None or rules.settle is None else _settled(given, wanted, rules.settle)


def _settled(given: Node, wanted: Node, settle: Callable[[Node, Node], Truth]) -> Truth:
    """Ask about two expressions; where the given one alone has no value, it is not the wanted one."""
    truth = settle(given, wanted)
    return False if truth is None and not has_value(given) and has_value(wanted) else truth


# -- text


def _same_choices(given: Node, wanted: Node, rules: Rules) -> Truth:
    """Compare a choice letter with content: by the letter, or by the content where the other has no letter."""
    if isinstance(given, Choice) and isinstance(wanted, Choice):
        return given.letter == wanted.letter and same(given.content, wanted.content, rules)
    choice, other = (given, wanted) if isinstance(given, Choice) else (wanted, given)
    assert isinstance(choice, Choice)
    if isinstance(other, Symbol) and len(other.name) == 1 and other.name.isupper():
        return choice.letter == other.name and not _goes_on(choice.content)
    return same(choice.content, other, rules)


def _goes_on(content: Node) -> bool:
    """Whether what follows a choice letter is no content but a second answer: ``(A) and 3``."""
    return isinstance(content, Words) and content.text.partition(" ")[0].lower() in {"and", "or", "not", "but"}


def _same_words(given: Node, wanted: Node, rules: Rules) -> Truth:
    """Compare texts; a few of them name a set or a number."""
    one, other = _text(given), _text(wanted)
    if one is not None and other is not None:
        is_folded = rules.policy.case == "ignore" and len(one) > 1
        if one == other or (is_folded and one.casefold() == other.casefold()):
            return True
    if isinstance(given, Words) and isinstance(wanted, Words):
        return False
    meaning = _SYMBOLIC_WORDS.get(((one if isinstance(given, Words) else other) or "").casefold())
    return meaning is not None and same(meaning, wanted if isinstance(given, Words) else given, rules)


def _text(node: Node) -> str | None:
    """Return the text of words, or the name of a symbol."""
    if isinstance(node, Words):
        return node.text
    return SYNONYMS.get(node.name.casefold(), node.name) if isinstance(node, Symbol) else None


def _same_based(given: Node, wanted: Node, rules: Rules) -> Truth:
    if given == wanted:
        return True
    if rules.policy.bases == "as_written":
        return False
    return same(_in_base_ten(given), _in_base_ten(wanted), rules)


def _in_base_ten(node: Node) -> Node:
    return Number(fmpq(int(node.digits, node.base))) if isinstance(node, BasedNumber) else node


# -- several items


def _same_relations(given: Node, wanted: Node, rules: Rules) -> Truth:
    if is_relation(given) and is_relation(wanted):
        truth = same_relations(given, wanted, rules)
        if truth is not False or not (isinstance(given, Collection) and isinstance(wanted, Collection)):
            return truth
    return _same_collections(given, wanted, rules)


def _same_unions(given: Node, wanted: Node, rules: Rules) -> Truth:
    """Compare joined sets that are no sets of real numbers: unions and intersections in any order of their parts."""
    if not isinstance(given, SetExpression) or not isinstance(wanted, SetExpression) or given.sign != wanted.sign:
        return False
    if given.sign == "setminus":
        return _all_same(given.parts, wanted.parts, rules)
    return _match(_joined(given, given.sign), _joined(wanted, given.sign), rules)


def _joined(node: Node, sign: str) -> tuple[Node, ...]:
    if isinstance(node, SetExpression) and node.sign == sign:
        return tuple(part for inner in node.parts for part in _joined(inner, sign))
    return (node,)


def _same_matrices(given: Node, wanted: Node, rules: Rules) -> Truth:
    """Compare matrices; one row or one column also equals a tuple."""
    if isinstance(given, Matrix) and isinstance(wanted, Matrix):
        is_same_shape = len(given.rows) == len(wanted.rows) and given.bars == wanted.bars
        return is_same_shape and every(_all_same(*rows, rules) for rows in zip(given.rows, wanted.rows, strict=True))
    matrix, other = (given, wanted) if isinstance(given, Matrix) else (wanted, given)
    assert isinstance(matrix, Matrix)
    if matrix.bars or 1 not in {len(matrix.rows), len(matrix.rows[0])}:
        return False
    cells = tuple(cell for row in matrix.rows for cell in row)
    if isinstance(other, Collection) and other.bracket in {"()", "<>", "[]"}:
        return _all_same(cells, other.items, rules)
    return len(cells) == 1 and same(cells[0], other, rules)


def _same_tables(given: Node, wanted: Node, rules: Rules) -> Truth:
    if not isinstance(given, Table) or not isinstance(wanted, Table) or len(given.rows) != len(wanted.rows):
        return False
    return every(_all_same(*rows, rules) for rows in zip(given.rows, wanted.rows, strict=True))


def _same_collections(given: Node, wanted: Node, rules: Rules) -> Truth:
    if not isinstance(given, Collection) or not isinstance(wanted, Collection):
        return _last_is_same(given, wanted, rules)
    if given.bracket == wanted.bracket == "{}":
        return every((_is_subset(given, wanted, rules), _is_subset(wanted, given, rules)))
    if given.bracket == wanted.bracket == "mod":
        return same_residues(given, wanted, rules)
    kinds = {given.bracket, wanted.bracket}
    if kinds <= UNBRACKETED | {"{}"}:
        if rules.policy.lists == "in_order" and "{}" not in kinds:
            return _all_same(given.items, wanted.items, rules)
        return _match(given.items, wanted.items, rules)
    if rules.policy.brackets == "ignore":
        return _all_same(given.items, wanted.items, rules)
    is_plain_list = kinds <= {",", "[]"} and len(wanted.items) != 2
    kind, other = (_ANGLED_AS_ROUND.get(bracket, bracket) for bracket in (given.bracket, wanted.bracket))
    if kind == other or is_plain_list:
        return _all_same(given.items, wanted.items, rules)
    return _last_is_same(given, wanted, rules)


def _last_is_same(given: Node, wanted: Node, rules: Rules) -> Truth:
    """Whether several answers were given, the last one is wanted, and the policy lets it count."""
    if rules.policy.hedging != "last" or not isinstance(given, Collection) or given.bracket not in UNBRACKETED:
        return False
    return bool(given.items) and same(given.items[-1], wanted, rules)


def _all_same(given: tuple[Node, ...], wanted: tuple[Node, ...], rules: Rules) -> Truth:
    return len(given) == len(wanted) and every(map(rules.same, given, wanted))


def _is_subset(given: Collection, wanted: Collection, rules: Rules) -> Truth:
    return every(some(same(one, other, rules) for other in wanted.items) for one in given.items)


def _match(given: tuple[Node, ...], wanted: tuple[Node, ...], rules: Rules) -> Truth:
    """Whether each item has one of its own among the others."""
    if len(given) != len(wanted):
        return False
    rest = list(wanted)
    for one in given:
        is_undecided = False
        for at, other in enumerate(rest):
            truth = same(one, other, rules)
            is_undecided = is_undecided or truth is None
            if truth:
                del rest[at]
                break
        else:
            return None if is_undecided else False
    return True


def _same_functions(given: Node, wanted: Node, rules: Rules) -> Truth:
    if any(isinstance(node, Collection | Relation | SetExpression | Matrix) for node in (given, wanted)):
        return False
    truth = same_piecewise(given, wanted, rules.same)
    return truth if truth is not None or rules.settle is None else rules.settle(given, wanted)


_COMPARISONS = (
    (Piecewise, _same_functions),
    (Relation, _same_relations),
    (SetExpression, _same_unions),
    (Matrix, _same_matrices),
    (Table, _same_tables),
    (Collection, _same_relations),
    (Clock, same_clocks),
    (Ratio, same_ratios),
    (Quantity, same_quantities),
)
"""How answers are compared of which one at least is of a kind, in this order."""
