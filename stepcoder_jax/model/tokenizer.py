"""Tokenizers: from a Hugging Face folder, from GGUF metadata, or trained on the spot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast as Tokenizer

PAD_TOKEN = "<pad>"
EOS_TOKEN = "<eos>"

_BYTES = 256
# One text of megabytes would decide the merges alone, and take gigabytes.
_MOST_LEARNED_CHARS = 100_000

# Token types in GGUF metadata.
_CONTROL, _USER_DEFINED = 3, 4

_GGUF_KEYS = tuple(f"tokenizer.ggml.{key}" for key in ("tokens", "merges", "token_type"))


def _byte_level() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _digits_apart() -> pre_tokenizers.PreTokenizer:
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, _byte_level()])


def _deepseek_coder() -> pre_tokenizers.PreTokenizer:
    patterns = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+")
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    digits = pre_tokenizers.Digits(individual_digits=True)
    bytes_apart = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([*splits, digits, bytes_apart])


def _words_and_digits(digits: str) -> pre_tokenizers.PreTokenizer:
    """As tiktoken splits for GPT-4, with so many digits in a piece."""
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
        + digits
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    bytes_apart = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([split, bytes_apart])


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What GGUF's ``tokenizer.ggml.pre`` stands for, and the file leaves out.

    Attributes:
        split: into pieces that no token crosses.
        composes: whether characters are composed first (NFC).
        whole_first: whether a piece that is a token is one without any merge.
        begins: whether texts begin with a token of their own where the file does not say.
    """

    split: Callable[[], pre_tokenizers.PreTokenizer]
    composes: bool = False
    whole_first: bool = False
    begins: bool = False


_KINDS: Mapping[str, _Kind] = {
    "gpt-2": _Kind(split=_byte_level),
    "smollm": _Kind(split=_digits_apart),
    "deepseek-coder": _Kind(split=_deepseek_coder),
    "llama-bpe": _Kind(
        split=lambda: _words_and_digits(r"\p{N}{1,3}"), whole_first=True, begins=True
    ),
    "qwen2": _Kind(split=lambda: _words_and_digits(r"\p{N}"), composes=True),
}


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer of a Hugging Face folder, exactly as its tokenizer.json describes it.

    AutoTokenizer would put the pre-tokenizer of the model's architecture in place of the file's.
    That a text begins with a token of its own is said beside it by ``add_bos_token``.

    Raises:
        ValueError: the folder has no tokenizer.json, or a broken one.
    """
    if not (folder / "tokenizer.json").is_file():
        raise ValueError(f"{folder}: holds no tokenizer.json; a model folder needs it")
    try:
        tokenizer = Tokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder}: holds no tokenizer that can be read: {error}") from error
    config = folder / "tokenizer_config.json"
    if config.is_file():
        _begin_texts(tokenizer, json.loads(config.read_text()).get("add_bos_token"))
    return tokenizer


def _begin_texts(tokenizer: Tokenizer, is_wanted: bool | None) -> None:
    """Puts the token that begins a text before it, as DeepSeek-Coder's class for it does."""
    start, start_id = tokenizer.bos_token, tokenizer.bos_token_id
    begins = start_id in tokenizer("", add_special_tokens=True)["input_ids"]
    if is_wanted and start is not None and not begins:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=[start, "$A"],
            pair=[start, "$A", start, "$B:1"],
            special_tokens=[(start, start_id)],
        )


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and the chat template if there is one."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    # transformers 5 writes a name of the class that transformers 4 and vLLM do not know.
    config = json.loads(path.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(config, indent=2) + "\n")


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
    """Build the byte-level BPE that GGUF metadata describes, special tokens and chat template too.

    Raises:
        ValueError: a kind of tokenizer or pre-tokenizer that is not known here, by name; or a list
            that is missing.
    """
    kind, pre = (metadata.get(f"tokenizer.ggml.{key}", "") for key in ("model", "pre"))
    if kind != "gpt2" or pre not in _KINDS:
        raise ValueError(
            f"tokenizer.ggml.model = {kind!r} with tokenizer.ggml.pre = {pre!r} is not supported; "
            f"allowed: 'gpt2' with {', '.join(map(repr, _KINDS))}"
        )
    missing = [key for key in _GGUF_KEYS if key not in metadata]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    how = _KINDS[pre]
    model = models.BPE(vocab=vocabulary, merges=merges, ignore_merges=how.whole_first)
    tokenizer = tokenizers.Tokenizer(model)
    if how.composes:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = how.split()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(_added(metadata, _CONTROL))
    tokenizer.add_tokens(_added(metadata, _USER_DEFINED))
    whole = Tokenizer(
        tokenizer_object=tokenizer,
        chat_template=metadata.get("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        **_roles(metadata),
    )
    _begin_texts(whole, metadata.get("tokenizer.ggml.add_bos_token", how.begins))
    return whole


def _added(metadata: Mapping[str, Any], kind: int) -> list[AddedToken]:
    types = metadata["tokenizer.ggml.token_type"]
    return [
        AddedToken(token, normalized=False, special=kind == _CONTROL)
        for token, token_type in zip(metadata["tokenizer.ggml.tokens"], types, strict=True)
        if token_type == kind
    ]


def _roles(metadata: Mapping[str, Any]) -> dict[str, str]:
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    ids = {role: metadata.get(f"tokenizer.ggml.{name}_token_id") for role, name in names.items()}
    tokens = metadata["tokenizer.ggml.tokens"]
    return {f"{role}_token": tokens[index] for role, index in ids.items() if index is not None}


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, *, split_digits: bool = True
) -> Tokenizer:
    """Train a byte-level BPE; the same texts give the same tokenizer.

    Every text is encodable: all 256 bytes are tokens. Ids 0 and 1 are ``<pad>`` and ``<eos>``.

    Args:
        texts: what to learn merges from; of each the first 100,000 characters.
        vocab_size: at most this many tokens; fewer when the texts hold no more pairs to merge, so
            size an embedding by ``len(tokenizer)``.
        split_digits: every digit is a token. Without it a frequent number becomes one token, which
            a very small model copies more easily.

    Raises:
        ValueError: ``vocab_size`` leaves no room for the bytes.
    """
    special = [PAD_TOKEN, EOS_TOKEN]
    least = _BYTES + len(special)
    if vocab_size < least:
        raise ValueError(
            f"vocab_size = {vocab_size} is too small: all bytes and {special} need {least}"
        )
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _digits_apart() if split_digits else _byte_level()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text[:_MOST_LEARNED_CHARS] for text in texts), trainer)
    return Tokenizer(
        tokenizer_object=tokenizer,
        pad_token=PAD_TOKEN,
        eos_token=EOS_TOKEN,
        clean_up_tokenization_spaces=False,
    )
