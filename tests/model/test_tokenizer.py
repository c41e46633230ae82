import inspect
import json
from copy import deepcopy
from pathlib import Path

import pytest
import tokenizers
from random_models import TEXTS
from tokenizers import models, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import TikTokenConverter
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX, Qwen2Tokenizer

from stepcoder_jax.model.tokenizer import (
    EOS_TOKEN,
    PAD_TOKEN,
    Tokenizer,
    load_tokenizer,
    save_tokenizer,
    tokenizer_from_gguf,
    train_tokenizer,
)

ANY_TEXT = "tab\t, 12345, emoji 🙂, 北京,     spaces\r\n\x00 and <b>"


def test_any_text_survives_there_and_back(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer(ANY_TEXT).input_ids) == ANY_TEXT


def test_every_digit_is_a_token_of_its_own(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.tokenize("x = 1234")
    assert tokens[-4:] == ["1", "2", "3", "4"]


def test_special_tokens_come_first_and_are_never_split(tokenizer: Tokenizer) -> None:
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1)
    assert tokenizer(f"a{EOS_TOKEN}{PAD_TOKEN}").input_ids[1:] == [1, 0]


def test_learned_merges_shorten_the_text(tokenizer: Tokenizer) -> None:
    assert 258 < len(tokenizer) <= 300
    assert len(tokenizer(TEXTS[0]).input_ids) < len(TEXTS[0]) // 2


def test_training_is_deterministic(tokenizer: Tokenizer) -> None:
    again = train_tokenizer(TEXTS, 300)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_a_saved_tokenizer_reads_back_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    chatty = deepcopy(tokenizer)
    chatty.chat_template = "{{ messages[0]['content'] }}!"
    save_tokenizer(chatty, tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.apply_chat_template([{"content": "hi"}], tokenize=False) == "hi!"
    assert loaded(ANY_TEXT).input_ids == tokenizer(ANY_TEXT).input_ids
    assert (loaded.pad_token_id, loaded.eos_token_id) == (0, 1)


def test_no_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="vocab_size = 100 is too small"):
        train_tokenizer(TEXTS, 100)


@pytest.mark.parametrize("change", [{"model": "llama"}, {"pre": "falcon"}])
def test_an_unknown_kind_of_gguf_tokenizer_is_refused_by_name(change: dict) -> None:
    kinds = {"model": "gpt2", "pre": "smollm"} | change
    metadata = {f"tokenizer.ggml.{key}": value for key, value in kinds.items()}
    with pytest.raises(ValueError, match=next(iter(change.values()))):
        tokenizer_from_gguf(metadata)


def gguf_metadata(tokenizer: Tokenizer, pre: str) -> dict:
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, 4] + [1] * (len(tokens) - 3),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.eos_token_id": 1,
    }


def test_digits_leave_their_white_space_only_where_the_file_says_so(tokenizer: Tokenizer) -> None:
    # The run of spaces before a digit stays whole when digits are split off first.
    apart = tokenizer_from_gguf(gguf_metadata(tokenizer, "smollm")).tokenize("x =    1")
    together = tokenizer_from_gguf(gguf_metadata(tokenizer, "gpt-2")).tokenize("x =    1")
    assert apart == tokenizer.tokenize("x =    1")
    assert "".join(apart) == "".join(together)
    assert apart != together


# What the patterns of pieces tell apart; the last two "é" are an "e" and an accent.
SPLIT_TEXT = (
    "x = 1234567 + f(12)\r\n\n\t  if it's THEY'LL: return  café"
    " 北京２０２４ ½ <b>--&&\n  \n end   cafe\u0301 e\u0301"
)


def learned(pattern: str) -> tokenizers.Tokenizer:
    """A byte-level BPE with merges of everything in the text above, pieces split by a pattern."""
    backend = tokenizers.Tokenizer(models.BPE())
    bytes_apart = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_apart])
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<|begin_of_text|>", "<|more|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([SPLIT_TEXT] * 3, trainer)
    return backend


def test_qwen_s_gguf_splits_as_its_class_in_transformers() -> None:
    model = json.loads(learned(PRETOKENIZE_REGEX).to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    theirs = Qwen2Tokenizer(vocab=model["vocab"], merges=merges)
    metadata = gguf_metadata(Tokenizer(tokenizer_object=learned(PRETOKENIZE_REGEX)), "qwen2")
    metadata["tokenizer.ggml.add_bos_token"] = False
    ours = tokenizer_from_gguf(metadata)
    for text in (SPLIT_TEXT, ANY_TEXT, *TEXTS):
        assert ours(text).input_ids == theirs(text).input_ids
    composed = ours("café").input_ids
    assert ours("cafe\u0301").input_ids == composed
    assert [t for t in ours.tokenize("a 1234") if t.isdigit()] == ["1", "2", "3", "4"]


def test_llama_3_s_gguf_splits_as_tiktoken_and_begins_texts() -> None:
    pattern = inspect.signature(TikTokenConverter).parameters["pattern"].default
    theirs = learned(pattern)
    metadata = gguf_metadata(Tokenizer(tokenizer_object=theirs), "llama-bpe")
    ours = tokenizer_from_gguf(metadata | {"tokenizer.ggml.bos_token_id": 1})
    for text in (SPLIT_TEXT, ANY_TEXT, *TEXTS):
        assert ours(text).input_ids == [1, *theirs.encode(text).ids]
    metadata |= {"tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.add_bos_token": False}
    assert tokenizer_from_gguf(metadata)("x").input_ids == theirs.encode("x").ids


def test_llama_3_takes_a_piece_that_is_a_token_without_merging() -> None:
    metadata = gguf_metadata(Tokenizer(tokenizer_object=learned(r"\S+")), "llama-bpe")
    whole = [*metadata["tokenizer.ggml.tokens"], "qqqq"]
    metadata["tokenizer.ggml.tokens"] = whole
    metadata["tokenizer.ggml.token_type"].append(1)
    assert tokenizer_from_gguf(metadata).tokenize("qqqq") == ["qqqq"]
    assert len(tokenizer_from_gguf(metadata | {"tokenizer.ggml.pre": "qwen2"}).tokenize("qqqq")) > 1


def test_one_text_of_megabytes_does_not_decide_the_merges() -> None:
    start = "ab " * 33_334
    assert train_tokenizer([start + "cd " * 10**6], 300).tokenize("cd") == ["c", "d"]
    assert train_tokenizer([start, "cd " * 100], 300).tokenize("cd") == ["cd"]


def test_a_trained_tokenizer_keeps_numbers_whole_only_when_asked_to() -> None:
    texts = ["take 17 from 42 and 17 again"] * 50
    apart = train_tokenizer(texts, 300).tokenize("take 17")
    whole = train_tokenizer(texts, 300, split_digits=False).tokenize("take 17")
    assert [piece[-1] for piece in apart[-2:]] == ["1", "7"]
    assert whole[-1].endswith("17")
