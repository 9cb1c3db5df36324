"""What a comparison goes by, handed down to every part of it."""

from collections.abc import Callable
from typing import NamedTuple

from reasonrl_grading.logic import Truth
from reasonrl_grading.nodes import Node
from reasonrl_grading.policy import Policy


class Rules(NamedTuple):
    """The policies, the problem, and how parts are compared."""

    policy: Policy
    compare: Callable[[Node, Node, "Rules"], Truth]
    """Compares two parts of an answer."""
    settle: Callable[[Node, Node], Truth] | None = None
    """Asked about two expressions, or two systems of relations, whose equality values do not settle."""
    question: str = ""
    """The text of the problem; empty where it is not known."""
    wanted: str = ""
    """The text of the wanted answer."""

    def same(self, one: Node, other: Node) -> Truth:
        """Whether two parts of an answer are the same."""
        return self.compare(one, other, self)
