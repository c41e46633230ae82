"""The comparison rules, and what they must never let through."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stepcoder_executor.judge import judge_stdout, judge_value, same_token, same_value

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
TEXTS = st.text(alphabet="ab 12.-e\n\t", max_size=40)
BLANKS = st.text(alphabet=" \t\r\x0b\x0c", min_size=1, max_size=3)
NUMBERS = st.integers().map(str) | st.floats(allow_nan=False).map(repr)
WORDS = st.sampled_from(["a", "B", "-", "1_0", "nan"])
NUMBER_PAIRS = st.one_of(
    NUMBERS.map(lambda token: (token, token)),
    st.integers().map(lambda number: (f"{number}.0", str(number))),
    st.tuples(NUMBERS, NUMBERS),
)
PAIRS = NUMBER_PAIRS | WORDS.map(lambda token: (token, token)) | st.tuples(WORDS, NUMBERS)


def stdout(got, expected, rule="strict"):
    return judge_stdout(got.encode(), expected, rule) is None


def value(got, expected, rule="strict"):
    return judge_value(json.dumps(got), expected, rule) is None


@given(VALUES)
def test_a_value_equals_itself(one):
    assert value(one, one)
    assert value(one, [one])


@given(VALUES, VALUES)
def test_strict_values_are_as_python_says_but_for_numbers(got, expected):
    if type(got) is type(expected) and isinstance(got, str | bool | None):
        assert same_value(got, expected) == (got == expected)


@given(TEXTS)
def test_a_text_equals_itself_however_it_is_spaced(text):
    assert stdout(text, text)
    assert stdout(f"\n \n{text}\n\n", text)
    assert stdout("\n".join(f" {line}\t" for line in text.split("\n")), text)


@given(TEXTS, TEXTS)
def test_equal_texts_have_the_same_shape(got, expected):
    if stdout(got, expected):
        shape = [len(line.split()) for line in got.strip().split("\n")]
        assert shape == [len(line.split()) for line in expected.strip().split("\n")]


@given(st.integers(), st.integers())
def test_integers_are_exact(a, b):
    assert same_token(str(a), str(b)) == (a == b)
    assert value(a, b) == (a == b)


@given(VALUES, VALUES)
def test_tuples_are_lists(got, expected):
    def tupled(thing):
        if isinstance(thing, dict):
            return {key: tupled(item) for key, item in thing.items()}
        return tuple(map(tupled, thing)) if isinstance(thing, list) else thing

    assert same_value([got, 0], tupled([got, 0]))
    assert same_value([got, 0], tupled([expected, 0])) == same_value([got, 0], [expected, 0])
    assert value(tupled(got), got)


@given(st.booleans(), st.integers() | st.floats(), st.sampled_from([list, dict]))
def test_a_bool_is_no_number(flag, number, around):
    for got, expected in ((flag, number), (number, flag), (int(flag), flag), (flag, float(flag))):
        inside = [[[got], [expected]], [{"a": got}, {"a": expected}]][around is dict]
        assert not value(got, expected)
        assert not value(*inside)


@given(VALUES)
def test_nothing_with_a_nan_is_the_same(one):
    for nan in (float("nan"), [one, float("nan")], {"a": float("nan")}):
        assert not value(nan, nan)
        assert not value(one, nan)


@given(st.dictionaries(st.text(max_size=2), SCALARS, max_size=4), st.text(max_size=2))
def test_dicts_have_the_same_keys_in_any_order(fields, key):
    assert value(dict(reversed(fields.items())), fields)
    assert value(fields | {key: 1}, fields) == (key in fields and value(1, fields[key]))
    assert not value({**fields, f"{key}...": 1}, fields)
    assert not value(fields, {**fields, f"{key}...": 1})


@given(st.integers(), SCALARS)
def test_keys_are_as_json_writes_them(key, item):
    assert value({key: item}, {str(key): item})


@given(st.integers(-(10**30), 10**30))
def test_a_number_may_be_written_in_any_way(number):
    sign, text = "-" * (number < 0), str(abs(number))
    for form in ("{}.", "{}.000", "0{}", "{}e0", "{}0E-1", "{}00e-02"):
        written = sign + form.format(text)
        assert same_token(written, str(number))
        assert same_token(str(number), written)
    assert not same_token(f"{number}.000000001", str(number))
    assert not same_token(f"{number}_", str(number))


@given(st.floats(allow_nan=False), st.floats(allow_nan=False, allow_infinity=False))
def test_fractions_are_the_same_as_tokens_and_as_values(got, expected):
    assert same_token(repr(got), repr(expected)) == same_value(got, expected)
    assert same_token(repr(expected), repr(expected))


@given(st.lists(PAIRS, min_size=1, max_size=4), BLANKS, BLANKS)
def test_tokens_are_compared_one_by_one_in_their_order(pairs, blank, other):
    got, expected = (list(tokens) for tokens in zip(*pairs, strict=True))
    is_same = all(same_token(one, two) for one, two in pairs)
    assert stdout(blank.join(got) + other, other.join(["", *expected])) == is_same
    assert stdout("\n".join(got), "\n".join(expected)) == is_same
    assert not stdout(blank.join([*got, "1"]), other.join(expected))
    assert not stdout("\n".join([*got, "1"]), other.join([*expected, "1"]))


@given(st.lists(st.sampled_from("ab\n"), max_size=12), BLANKS)
def test_apps_passes_what_strict_passes_of_words(words, blank):
    for got in (blank.join(words), f"\n{' '.join(words)}\n\n"):
        assert stdout(got, " ".join(words))
        assert stdout(got, " ".join(words), "apps")


@given(st.lists(NUMBER_PAIRS, max_size=4))
def test_apps_passes_what_strict_passes_of_numbers_each_on_a_line(pairs):
    """Of words among numbers in another form it does not: like its original it wants the text."""
    got, expected = ("\n".join(pair[k] for pair in pairs) for k in (0, 1))
    if stdout(got, expected):
        assert stdout(got, expected, "apps")


@given(st.floats(1e-3, 1e6), st.floats(-2e-5, 2e-5))
def test_fractions_are_near(expected, relative):
    got = expected * (1 + relative)
    allowed = 1e-8 + 1e-5 * expected
    if abs(abs(got - expected) - allowed) > 1e-9 * expected:
        assert value(got, expected) == (abs(got - expected) < allowed)


@pytest.mark.parametrize(
    ("got", "expected", "is_same"),
    [
        ("3", "3.0", True), ("3.0", "3", True), ("1e2", "100", True), ("3.00001", "3", False),
        ("0.333333", "0.33333333", True), ("nan", "nan", True), ("nan", "1.0", False),
        ("1_000", "1000", False), ("0x10", "16", False), ("٣", "3", False), ("yes", "YES", False),
        ("100000000000000001", "100000000000000000", False), ("+5", "5", True),
        ("1e400", "1.0", False),
        ("1e99999999999999999999", "1.0", False),
    ],
)  # fmt: skip
def test_tokens(got, expected, is_same):
    assert same_token(got, expected) is is_same


@pytest.mark.parametrize(
    ("got", "expected", "is_same"),
    [
        (True, 1, False), (1, True, False), (None, 0, False), ("1", 1, False), (1, 1.0, True),
        ([1, 2], [2, 1], False), ([1], 1, False), (1, [1], True), ([], [[]], True),
        ({"1": 2}, {"1": 2.0}, True), ({"1": 2}, {"1": 2, "2": 3}, False), ([1], [[1]], True),
        (float("nan"), float("nan"), False), (float("inf"), float("inf"), True),
        (float("inf"), 1.5, False), (10**400, 1.5, False), (10**17 + 1, 10**17, False),
    ],
)  # fmt: skip
def test_values(got, expected, is_same):
    assert value(got, expected) is is_same


@pytest.mark.parametrize(
    ("got", "expected"),
    [("2\n1\n", "1\n2\n"), ("1\n", "1\n1\n"), ("100000000000000001", "100000000000000000")],
)
def test_only_the_lenient_rule_lets_these_pass(got, expected):
    assert stdout(got, expected, "apps")
    assert not stdout(got, expected)


def test_the_lenient_rule_takes_the_first_of_a_longer_list():
    assert value(1, [1, 2], "apps")
    assert not value(1, [1, 2])


def test_an_output_far_too_long_is_not_read():
    assert "far more" in judge_stdout(b"1 " * 40_000, "1", "strict")
    assert "far more" in judge_value("[" + "1," * 40_000 + "1]", [1], "strict")


@pytest.mark.parametrize("text", ["", "[", "[" * 60_000, '{"a": 1, "a": 2}', "nope"])
def test_what_is_not_a_value_fails(text):
    assert judge_value(text, 1, "strict") is not None
