"""The built-in problem set: sizes, form, and splits that never meet."""

import ast
import json
from dataclasses import replace

import pytest

from stepcoder_jax.data.builtin import SPLITS, builtin_problems
from stepcoder_jax.data.builtin.families import KNOWN_FAMILIES, UNSEEN_FAMILIES
from stepcoder_jax.data.builtin.handwritten import handwritten_problems
from stepcoder_jax.data.builtin.slips import print_results, unreviewed
from stepcoder_jax.data.builtin.splits import digest, is_heldout, split_draws, split_templates
from stepcoder_jax.types import DIFFICULTIES

FAMILIES = (*KNOWN_FAMILIES, *UNSEEN_FAMILIES)
GOLDEN_IDS = ["builtin/scale/af687c2e43", "builtin/clamp/66262f34ff"]
COUNTS = {"train": 1500, "heldout": 600, "unseen_families": 150, "handwritten_heldout": None}


@pytest.fixture(scope="module")
def splits():
    return {split: builtin_problems(split, count=count) for split, count in COUNTS.items()}


@pytest.fixture(scope="module")
def problems(splits):
    return [problem for split in splits.values() for problem in split]


@pytest.fixture(scope="module")
def handwritten():
    return [problem for split in SPLITS for problem in handwritten_problems(split)]


def conditional_statements(source):
    kinds = (ast.If, ast.For, ast.While, ast.Match)
    return sum(isinstance(node, kinds) for node in ast.walk(ast.parse(source)))


def words(problems):
    return {word.strip(",.:;'") for problem in problems for word in problem.question.split()}


def family_of(problem):
    return problem.id.split("/")[1]


class TestForm:
    def test_there_are_enough_families_and_handwritten_problems(self, handwritten):
        assert len(handwritten) >= 40
        assert len(KNOWN_FAMILIES) >= 20
        assert len(UNSEEN_FAMILIES) >= 6
        assert len({family.name for family in FAMILIES}) == len(FAMILIES)

    def test_ids_and_questions_are_unique(self, problems):
        assert len({problem.id for problem in problems}) == len(problems)
        assert len({problem.question for problem in problems}) == len(problems)

    def test_each_has_five_different_tests_that_json_can_carry(self, problems):
        for problem in problems:
            inputs, outputs = problem.tests.inputs, problem.tests.outputs
            assert len(inputs) == len(outputs)
            assert len({json.dumps(given) for given in inputs}) == len(inputs) >= 5
            assert len({json.dumps(wanted) for wanted in outputs}) > 1

    def test_solutions_begin_with_the_starter_code(self, problems):
        for problem in problems:
            assert problem.canonical_solution.startswith(problem.starter_code)
            assert (problem.starter_code == "") == (problem.tests.fn_name is None)

    def test_questions_name_the_function(self, problems):
        for problem in problems:
            assert (problem.tests.fn_name or "") in problem.question

    def test_no_placeholder_is_left(self, problems, handwritten):
        generated = [problem for problem in problems if problem not in handwritten]
        for problem in generated:
            assert not set("{}") & set(problem.question + problem.canonical_solution)

    def test_both_styles_all_levels_and_classes_occur(self, splits, handwritten):
        for chosen in (splits["train"], splits["heldout"], handwritten):
            assert {problem.difficulty for problem in chosen} == set(DIFFICULTIES)
            assert {problem.tests.fn_name is None for problem in chosen} == {True, False}
        stdio = sum(family.style == "stdio" for family in FAMILIES)
        assert 0.15 <= stdio / len(FAMILIES) <= 0.3
        assert sum("class Solution" in problem.starter_code for problem in handwritten) >= 3

    def test_solutions_hold_none_to_nine_conditional_statements(self, splits, handwritten):
        written = {conditional_statements(problem.canonical_solution) for problem in handwritten}
        assert written >= set(range(10))
        trained = {
            conditional_statements(problem.canonical_solution) for problem in splits["train"]
        }
        assert trained >= set(range(10))

    def test_family_texts_stay_short(self, problems, handwritten):
        generated = [problem for problem in problems if problem not in handwritten]
        for problem in generated:
            assert 9 <= len(problem.question.split()) <= 40
            assert 2 <= len(problem.canonical_solution.splitlines()) <= 14

    def test_question_decides_the_program(self, problems):
        programs = {}
        for problem in problems:
            known = programs.setdefault(problem.question, problem.canonical_solution)
            assert known == problem.canonical_solution


class TestSplits:
    def test_no_program_is_on_both_sides(self, splits):
        programs = {name: {p.canonical_solution for p in split} for name, split in splits.items()}
        for name in ("heldout", "unseen_families", "handwritten_heldout"):
            assert not programs["train"] & programs[name]

    @pytest.mark.parametrize("family", KNOWN_FAMILIES, ids=lambda family: family.name)
    def test_draws_and_templates_are_divided(self, family):
        draws = {side: {digest(d) for d in split_draws(family, side)} for side in SPLITS[:2]}
        assert not draws["train"] & draws["heldout"]
        assert len(draws["train"] | draws["heldout"]) == len(list(family.draws()))
        templates = {side: set(split_templates(family, side)) for side in SPLITS[:2]}
        assert not templates["train"] & templates["heldout"]
        assert len(templates["train"]) >= 6
        assert len(templates["heldout"]) >= 2

    @pytest.mark.parametrize("family", KNOWN_FAMILIES, ids=lambda family: family.name)
    def test_spaces_are_large_and_a_fifth_is_held_out(self, family):
        draws = list(family.draws())
        assert len(draws) >= 400
        share = sum(is_heldout(family, draw) for draw in draws) / len(draws)
        assert 0.15 < share < 0.25

    def test_unseen_families_are_never_trained(self, splits):
        unseen = {family_of(problem) for problem in splits["unseen_families"]}
        assert unseen == {family.name for family in UNSEEN_FAMILIES}
        for split in ("train", "heldout"):
            assert not unseen & {family_of(problem) for problem in splits[split]}

    def test_heldout_wordings_use_words_met_in_training(self, splits):
        new = words(splits["heldout"]) - words(splits["train"])
        assert not {word for word in new if not word.isdigit()}

    def test_unseen_families_use_words_met_in_training_but_for_names_and_numbers(self, splits):
        new = words(splits["unseen_families"]) - words(splits["train"])
        assert {word for word in new if word.isalpha()} <= {"makes"}

    def test_train_holds_every_family_and_the_handwritten_problems(self, splits):
        names = {family_of(problem) for problem in splits["train"]}
        assert names == {family.name for family in KNOWN_FAMILIES} | {"handwritten"}
        assert not set(handwritten_problems("heldout") + handwritten_problems("unseen_families"))
        assert len(handwritten_problems("handwritten_heldout")) >= 8


class TestUnreviewed:
    """Solutions as they are before anyone has run them."""

    def test_draws_and_wordings_are_those_of_training(self):
        for family in KNOWN_FAMILIES:
            assert split_draws(family, "unreviewed") == split_draws(family, "train")
            assert split_templates(family, "unreviewed") == split_templates(family, "train")

    def test_half_of_the_functions_have_the_slip(self, splits):
        functions = [p for p in splits["train"] if p.tests.fn_name is not None]
        slipped = [p for p in functions if unreviewed(p) != p]
        assert len(functions) > 1000
        assert 0.45 < len(slipped) / len(functions) < 0.55

    def test_the_split_shows_both_halves(self):
        shown = builtin_problems("unreviewed", count=200)
        functions = [p.canonical_solution for p in shown if p.tests.fn_name is not None]
        returning = sum("return" in source for source in functions)
        assert 0.4 < returning / len(functions) < 0.6

    def test_nothing_but_the_solution_differs(self, splits):
        for problem in splits["train"][:100]:
            shown = unreviewed(problem)
            assert replace(shown, canonical_solution=problem.canonical_solution) == problem

    def test_the_slip_changes_returns_and_nothing_else(self):
        source = "def f(s):\n    if s == 'return 1':\n        return s\n    return [2, g(3)]\n"
        slip = "def f(s):\n    if s == 'return 1':\n        print(s)\n    print([2, g(3)])\n"
        assert print_results(source) == slip
        assert print_results("n = int(input())\nprint(n)\n") == "n = int(input())\nprint(n)\n"


class TestSelection:
    def test_the_same_call_gives_the_same_problems(self):
        assert builtin_problems("train", count=60) == builtin_problems("train", count=60)

    def test_a_longer_list_begins_with_the_shorter(self):
        assert builtin_problems("heldout", count=90)[:40] == builtin_problems("heldout", count=40)

    def test_difficulties_select_and_keep_the_order(self):
        levels = ("introductory", "competition")
        chosen = builtin_problems("train", count=40, difficulties=levels)
        assert {p.difficulty for p in chosen} == set(levels)
        every = builtin_problems("train", count=200)
        expected = [p for p in every if p.difficulty in levels and family_of(p) != "handwritten"]
        found = [p for p in chosen if family_of(p) != "handwritten"]
        assert found == expected[: len(found)]
        assert len(found) < len(chosen)

    def test_another_seed_selects_others(self):
        first, second = (builtin_problems("train", count=200, seed=seed) for seed in (0, 1))
        assert len({p.id for p in first} & {p.id for p in second}) < 50

    def test_the_selection_is_the_same_on_every_machine(self):
        chosen = builtin_problems("heldout", count=2, seed=7)
        assert [problem.id for problem in chosen] == GOLDEN_IDS

    def test_the_default_size_is_used_without_a_count(self):
        assert len(builtin_problems("unseen_families")) == 120

    def test_a_draw_comes_back_only_after_all_others(self):
        family = UNSEEN_FAMILIES[2]
        draws = len(split_draws(family, "unseen_families"))
        chosen = builtin_problems("unseen_families", count=len(UNSEEN_FAMILIES) * draws)
        own = [p.canonical_solution for p in chosen if family_of(p) == family.name]
        assert len(own) == len(set(own)) == draws

    def test_an_unknown_split_is_named_with_the_known_ones(self):
        with pytest.raises(ValueError, match=r"'test'.*train, heldout, unseen_families"):
            builtin_problems("test")

    @pytest.mark.parametrize("count", [-1, 11])
    def test_a_count_that_cannot_be_met_says_so(self, count):
        with pytest.raises(ValueError, match=f"count is {count}"):
            builtin_problems("handwritten_heldout", count=count)
