"""Canonical solutions against their own tests, in the executor; every branch of them is tested."""

import ast
import copy
import random

import pytest
from stepcoder_executor import ExecutorClient, Request, Verdict

from stepcoder_jax.data.builtin import SPLITS
from stepcoder_jax.data.builtin.families import KNOWN_FAMILIES, UNSEEN_FAMILIES
from stepcoder_jax.data.builtin.handwritten import handwritten_problems
from stepcoder_jax.data.builtin.problems import family_problem
from stepcoder_jax.data.builtin.wording import training_templates

HANDWRITTEN = [problem for split in SPLITS for problem in handwritten_problems(split)]
DRAWS = 5


def family_problems():
    for family in (*KNOWN_FAMILIES, *UNSEEN_FAMILIES):
        for draw in random.Random(1).sample(list(family.draws()), k=DRAWS):
            yield family_problem(family, draw, training_templates(family)[0])


@pytest.fixture(scope="module")
def results():
    problems = [*HANDWRITTEN, *family_problems()]
    requests = [Request(id=p.id, source=p.canonical_solution, tests=p.tests) for p in problems]
    with ExecutorClient() as client:
        return {result.id: result for result in client.run(requests, timeout_s=120)}


def test_every_canonical_solution_passes_in_the_executor(results):
    assert len(results) == len(HANDWRITTEN) + DRAWS * len((*KNOWN_FAMILIES, *UNSEEN_FAMILIES))
    wrong = {result.id: result for result in results.values() if result.verdict != Verdict.PASSED}
    assert not wrong


class _Watched(ast.NodeTransformer):
    """Wraps every condition in a call that notes which way it went."""

    def __init__(self):
        self.conditions = {}

    def generic_visit(self, node):
        super().generic_visit(node)
        if not isinstance(node, ast.If | ast.While | ast.IfExp):
            return node
        key = len(self.conditions)
        self.conditions[key] = ast.unparse(node.test)
        node.test = ast.Call(
            func=ast.Name("_note", ast.Load()), args=[ast.Constant(key), node.test], keywords=[]
        )
        return node


def one_way_conditions(problem):
    watched = _Watched()
    tree = ast.fix_missing_locations(watched.visit(ast.parse(problem.canonical_solution)))
    ways = set()

    def note(key, value):
        ways.add((key, bool(value)))
        return value

    for given in problem.tests.inputs:
        run_once(compile(tree, problem.id, "exec"), problem.tests.fn_name, given, {"_note": note})
    both = [(key, way) for key in watched.conditions for way in (True, False)]
    return [(watched.conditions[key], way) for key, way in both if (key, way) not in ways]


def run_once(program, fn_name, given, scope):
    if fn_name is None:
        scope |= {"input": iter(given.splitlines()).__next__, "print": lambda *values: None}
        exec(program, scope)
        return
    exec(program, scope)
    owner = scope["Solution"]() if "Solution" in scope else None
    function = getattr(owner, fn_name) if owner else scope[fn_name]
    function(*copy.deepcopy(given))


@pytest.mark.parametrize("problem", HANDWRITTEN, ids=lambda problem: problem.id.split("/")[-1])
def test_handwritten_tests_take_every_branch_both_ways(problem):
    assert one_way_conditions(problem) == []


def test_family_tests_take_every_branch_both_ways():
    missed = {problem.id: one_way_conditions(problem) for problem in family_problems()}
    assert {key: conditions for key, conditions in missed.items() if conditions} == {}
