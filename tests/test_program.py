"""Token ids to the executed program, and each token's place in it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from stepcoder_executor import Verdict

from stepcoder_jax.config import FGOConfig
from stepcoder_jax.coverage_mask import mark_executed
from stepcoder_jax.extract import Fence, extract
from stepcoder_jax.program import TokenBytes, assemble, find_stop

END = 256
# One token a byte, and an end token that writes nothing.
BYTES = TokenBytes(table=(*(bytes([i]) for i in range(256)), b""))


def build(
    prefix: bytes,
    response: bytes,
    stop: tuple[str, ...] = (),
    end: bool = True,
    fence: Fence = "none",
):
    tokens = [*response, *([END] if end else [])]
    return assemble(BYTES, list(prefix), tokens, stop=stop, end_token=END, fence=fence)


def test_a_program_is_prefix_and_response_and_tokens_know_their_characters() -> None:
    program = build(b"ab", b"cd")
    assert program.text == "abcd"
    assert program.token_spans.tolist() == [[2, 3], [3, 4], [4, 4]]
    assert program.is_end.tolist() == [False, False, True]
    assert not program.stopped


def test_a_character_of_several_tokens_belongs_to_each_of_them() -> None:
    program = build("é".encode(), "ü!".encode())
    assert program.text == "éü!"
    assert program.token_spans.tolist() == [[1, 2], [1, 2], [2, 3], [3, 3]]


def test_the_program_ends_before_the_stop_string_whose_tokens_end_the_response() -> None:
    program = build(b"", b"x\n```y", stop=("\n```",), end=False)
    assert program.text == "x"
    assert program.is_end.tolist() == [False, True, True, True, True, False]
    assert program.token_spans.tolist() == [[0, 1]] + [[1, 1]] * 5
    assert program.stopped


def test_a_stop_string_in_the_prefix_does_not_end_the_response() -> None:
    assert build(b"a\n```", b"b", stop=("\n```",)).text == "a\n```b"


def test_the_earliest_of_several_stop_strings_counts() -> None:
    assert find_stop(b"a--b==", ("==", "--")) == (1, 3)
    assert find_stop(b"ab", ("==",)) == (2, None)


def test_bytes_that_are_not_text_become_one_replacement_character_each_run() -> None:
    program = build(b"", b"a\xff\xfeb")
    assert program.text == b"a\xff\xfeb".decode("utf-8", errors="replace")
    assert program.token_spans.tolist()[:4] == [[0, 1], [1, 2], [2, 3], [3, 4]]


def test_ids_beyond_the_tokenizer_write_nothing() -> None:
    assert BYTES.text([ord("a"), 999, ord("b")]) == "ab"


@given(st.binary(max_size=8), st.binary(max_size=24))
def test_spans_cover_the_response_in_order_whatever_the_bytes(prefix: bytes, tail: bytes) -> None:
    program = build(prefix, tail)
    assert program.text == (prefix + tail).decode("utf-8", errors="replace")
    starts, ends = program.token_spans.T
    assert np.all(starts <= ends)
    assert np.all(np.diff(starts) >= 0)
    assert np.all(np.diff(ends) >= 0)
    assert ends[-1] == len(program.text)


def test_of_an_answer_with_a_code_block_only_the_block_is_the_program() -> None:
    program = build(b"", b"Ah:\n```python\nf()\n```\nSo.", fence="search")
    assert program.text == "f()"
    written = program.token_spans[:, 1] > program.token_spans[:, 0]
    assert program.token_spans[written].tolist() == [[0, 1], [1, 2], [2, 3]]
    assert program.token_spans[~written].tolist() == [[3, 3]] * (len(program.is_end) - 3)
    assert program.is_end.tolist() == [False] * (len(program.is_end) - 1) + [True]


def test_words_around_a_code_block_were_not_executed_and_its_code_and_the_end_were() -> None:
    response = b"Ah:\n```python\nf()\n```\nSo."
    program = build(b"", response, fence="search")
    executed = mark_executed(
        program.text, [(0, 3)], program.token_spans, program.is_end, Verdict.PASSED, FGOConfig()
    )
    at = response.index(b"f()")
    assert np.flatnonzero(executed).tolist() == [at, at + 1, at + 2, len(response)]


def test_a_prefix_stands_before_what_its_block_goes_on_with() -> None:
    program = build(b"a = 1\n", b"b = 2\n```\nSo.", fence="inside")
    assert program.text == "a = 1\nb = 2"
    assert program.token_spans[:5].tolist() == [[6, 7], [7, 8], [8, 9], [9, 10], [10, 11]]
    assert program.token_spans[5:].tolist() == [[11, 11]] * (len(program.is_end) - 5)


PIECES = st.sampled_from(
    ["```python\n", "```", "\n", "x", "é", " ", "````", "```sh\n", "\U0001f642"]
)


@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(["search", "inside"]))
def test_tokens_know_their_characters_wherever_the_block_is(answer: str, fence: Fence) -> None:
    program = build(b"", answer.encode(), fence=fence, end=False)
    assert program.text == extract(answer, fence)
    spans = [(a, b) for a, b in program.token_spans.tolist() if b > a]
    # One token a byte: a character is covered by as many tokens as it has bytes, in order.
    expected = [(i, i + 1) for i, character in enumerate(program.text) for _ in character.encode()]
    assert spans == expected
