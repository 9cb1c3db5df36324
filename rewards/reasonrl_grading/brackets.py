"""What a pair of brackets or bars around something makes of it."""

from reasonrl_grading.nodes import Call, Collection, Matrix, Node, ParseError, Relation, Table

_AROUND_ONE = frozenset({"()", "[]", "{}"})
_AROUND_LISTS = _AROUND_ONE | {"(]", "[)", "<>"}


def _is_condition(node: Collection) -> bool:
    """Whether the inside of set braces was parsed as the condition of a set-builder."""
    is_relation = any(isinstance(item, Relation) for item in node.items)
    return node.bracket in {"and", "or"} or (node.bracket == "{}" and is_relation)


def bracketed(opening: str, closing: str, node: Node) -> Node:
    """Return what brackets mean: a collection of several items, a set, a matrix as in ``[[1,2],[3,4]]``, the content.

    Raises:
        ParseError: the two brackets have no meaning around that.
    """
    if isinstance(node, Table):
        return _array_in_brackets(node, opening, closing)
    if opening == "\\{":
        return _in_set_braces(node)
    is_list = isinstance(node, Collection) and node.bracket == ","
    if opening + closing not in (_AROUND_LISTS if is_list else _AROUND_ONE):
        raise ParseError
    if not isinstance(node, Collection) or not (is_list or (opening == "[" and node.bracket == "[]")):
        return node
    items = node.items if is_list else (node,)
    rows = tuple(item.items for item in items if isinstance(item, Collection) and item.bracket == "[]")
    widths = set(map(len, rows))
    if opening + closing == "[]" and len(rows) == len(items) and len(widths) == 1 and widths != {0}:
        return Matrix(rows)
    return Collection(opening + closing, items)  # type: ignore[arg-type]  # checked above


def _in_set_braces(node: Node) -> Node:
    if isinstance(node, Collection) and (node.bracket == "," or _is_condition(node)):
        return Collection("{}", node.items) if node.bracket == "," else node
    return Collection("{}", (node,))


def _array_in_brackets(node: Table, opening: str, closing: str) -> Node:
    """Return the matrix that an array in brackets is.

    Raises:
        ParseError: it is none.
    """
    if opening + closing not in {"()", "[]", "{}"}:
        raise ParseError
    return node if opening == "{" else Matrix(node.rows, node.bars)


def between_bars(node: Node, bar: str) -> Node:
    """Return the determinant or norm of a matrix between bars, or the absolute value of anything else."""
    if not isinstance(node, Matrix | Table):
        return Call("abs", (node,))
    return Call("norm" if bar == "\\|" else "det", (Matrix(node.rows, node.bars),))
