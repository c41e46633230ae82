"""How much of one program's syntax another one has: PPOCoder's match of syntax trees."""

import ast
from collections import Counter

from stepcoder_jax.source_text import parse

type Shapes = Counter[int]
type Numbers = dict[tuple[type[ast.AST], tuple[int, ...]], int]

UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


def syntax_match(program: str, reference: str | None) -> float:
    """Share of the reference's subtrees that the program has, shape for shape: in [0, 1].

    `match = |S(program) ∩ S(reference)| / |S(reference)|`, where S is the multiset of the subtrees
    with at least one child, each known by its kinds of nodes alone: names and constants are free.

    Args:
        program: Python; one that does not parse matches nothing.
        reference: a solution; where there is none, or none that parses, nothing matches.

    Source: PPOCoder (arXiv 2301.13816), the AST term of its reward. There it is taken over
        tree-sitter's trees; here over Python's own, without what only marks loads and stores.
    """
    numbers: Numbers = {}
    try:
        wanted = _shapes(parse(reference or ""), numbers)
        found = _shapes(parse(program.removeprefix("\ufeff")), numbers)
    except UNREADABLE:
        return 0.0
    return (found & wanted).total() / wanted.total() if wanted else 0.0


def _shapes(tree: ast.Module, numbers: Numbers) -> Shapes:
    """Counts the subtrees by shape; ``numbers`` gives equal shapes of several trees one number."""
    shape: dict[ast.AST, int] = {}
    count: Shapes = Counter()
    # Breadth first and backwards, children come before their parents: no depth is too deep.
    for node in reversed(list(ast.walk(tree))):
        children = tuple(
            shape[child]
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, ast.expr_context)
        )
        shape[node] = numbers.setdefault((type(node), children), len(numbers))
        if children:
            count[shape[node]] += 1
    return count
