"""Wrong variants of a canonical solution, and inputs that tell whether two programs differ."""

import ast
import copy
import random
import re
from collections.abc import Iterator
from typing import Any

from stepcoder_jax.data.builtin.reference_run import tests_from_solution

STRICTNESS = {ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.LtE: ast.Lt}
DIRECTION = {ast.Gt: ast.Lt, ast.GtE: ast.LtE, ast.Lt: ast.Gt, ast.LtE: ast.GtE}
EQUALITY = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
SIGN = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add}


def mutants(source: str) -> Iterator[str]:
    """Programs with one constant, comparison or sign changed, or two branches swapped."""
    count = sum(1 for _ in ast.walk(ast.parse(source)))
    for index in range(count):
        for variant in range(2):
            tree = ast.parse(source)
            if _change(list(ast.walk(tree))[index], variant):
                yield ast.unparse(tree)


def _change(node: ast.AST, variant: int) -> bool:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        node.value += (-1, 1)[variant]
    elif isinstance(node, ast.Compare):
        table = (STRICTNESS | EQUALITY, DIRECTION)[variant]
        if type(node.ops[0]) not in table:
            return False
        node.ops[0] = table[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp | ast.AugAssign) and variant == 0:
        if type(node.op) not in SIGN:
            return False
        node.op = SIGN[type(node.op)]()
    elif isinstance(node, ast.If) and node.orelse and variant == 0:
        other = node.orelse[0].body if isinstance(node.orelse[0], ast.If) else node.orelse
        node.body[:], other[:] = other[:], node.body[:]
    else:
        return False
    return True


class _Bounded(ast.NodeTransformer):
    def visit_While(self, node: ast.While) -> ast.While:
        self.generic_visit(node)
        node.body[:0] = ast.parse("next(_steps)").body
        return node


def bounded(source: str) -> str:
    """The same program, raising StopIteration once its `while` loops have gone 20,000 rounds."""
    tree = _Bounded().visit(ast.parse(f"_steps = iter(range(20_000))\n{source}"))
    return ast.unparse(ast.fix_missing_locations(tree))


def outputs(source: str, fn_name: str | None, inputs: Any) -> Any:
    """What the program gives for each input, or the type of the first exception."""
    try:
        return tests_from_solution(bounded(source), fn_name, inputs).outputs
    except Exception as error:
        return type(error)


def variations(inputs: Any, rng: random.Random, count: int) -> list[Any]:
    """Inputs like the given ones with numbers, letters and lengths changed at random."""
    return [_vary(copy.deepcopy(rng.choice(inputs)), rng) for _ in range(count)]


def _vary(value: Any, rng: random.Random) -> Any:
    if isinstance(value, int):
        return value + rng.choice((0, 0, -1, 1, rng.randint(-6, 6), rng.randint(-2, 40)))
    if isinstance(value, list):
        kept = [_vary(v, rng) for v in value]
        if kept and isinstance(kept[0], int) and len(kept) > 2:
            rng.shuffle(kept)
        return kept
    if re.search(r"\d", value):
        return re.sub(r"-?\d+", lambda m: str(_vary(int(m[0]), rng)), value)
    letters = list(value + rng.choice(("", "qz", "abcdefgh", "aeiou")))
    return "".join(rng.sample(letters, k=len(letters)))
