"""The tests of generated problems must fail the programs that a policy could write by mistake."""

import random

import pytest
from builtin_mutants import mutants, outputs, variations

from stepcoder_jax.data.builtin.families import KNOWN_FAMILIES, UNSEEN_FAMILIES
from stepcoder_jax.data.builtin.problems import family_problem
from stepcoder_jax.data.builtin.wording import training_templates

FAMILIES = (*KNOWN_FAMILIES, *UNSEEN_FAMILIES)
DRAWS = 4
KILL_RATE = 0.95


def drawn_problems(family, count):
    draws = random.Random(family.name).sample(list(family.draws()), k=count)
    return [family_problem(family, draw, training_templates(family)[0]) for draw in draws]


def is_killed(problem, program):
    tests = problem.tests
    return outputs(program, tests.fn_name, tests.inputs) != tests.outputs


def is_same_function(problem, program):
    tests = problem.tests
    rng = random.Random(problem.id)
    inputs = variations(tests.inputs, rng, 300)
    return outputs(program, tests.fn_name, inputs) == outputs(
        problem.canonical_solution, tests.fn_name, inputs
    )


def survivors(problem, programs):
    alive = [program for program in programs if not is_killed(problem, program)]
    return [program for program in alive if not is_same_function(problem, program)]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_one_changed_constant_comparison_or_branch_fails(family):
    made, alive = 0, []
    for problem in drawn_problems(family, DRAWS):
        wrong = list(mutants(problem.canonical_solution))
        made += len(wrong)
        alive += survivors(problem, wrong)
    assert len(alive) <= (1 - KILL_RATE) * made, "\n".join(alive)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_program_of_another_question_fails(family):
    problems = drawn_problems(family, 12)
    programs = {problem.canonical_solution for problem in problems}
    for problem in problems:
        assert not survivors(problem, programs - {problem.canonical_solution})
