"""Token ids to the executed program, and each token's place in it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_jax.program import TokenBytes, assemble, find_stop

END = 256
# One token a byte, and an end token that writes nothing.
BYTES = TokenBytes(table=(*(bytes([i]) for i in range(256)), b""))


def build(prefix: bytes, response: bytes, stop: tuple[str, ...] = (), end: bool = True):
    tokens = [*response, *([END] if end else [])]
    return assemble(BYTES, list(prefix), tokens, stop=stop, end_token=END)


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
