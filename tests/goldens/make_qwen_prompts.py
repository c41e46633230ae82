"""Write the token ids of whole prompt texts in the vocabulary of Qwen, with tiktoken alone.

    python make_qwen_prompts.py qwen.tiktoken

The file is `resources/qwen.tiktoken` of the package dashscope 2.0.2; Qwen2.5 has the same ranks,
split and special tokens. Made with tiktoken 0.13.0 and regex, beside the project: neither its
prompt builder nor tokenizers takes part. Beside the ids stands what of the vocabulary these texts
can need, with the merges, so that the test needs no file: all bytes, and every token that occurs in
a piece of the texts. The texts are those of tests/model/test_qwen_prompts.py.
"""

import json
import re
import sys
from pathlib import Path

import regex
import tiktoken
from tiktoken.load import load_tiktoken_bpe

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "model"))

from test_qwen_prompts import SOLUTION, SPECIAL, SPLIT, START, TEXTS  # noqa: E402

ENDS = {"plain": "", "chat": "\n```", "chat-free": "\n```", "completion": "", "mbpp": "\n[DONE]"}


def ranks_of(texts: list[str], ranks: dict[bytes, int]) -> dict[bytes, int]:
    """All bytes, and every token that is somewhere in a piece of the texts."""
    pieces = {piece.encode() for text in texts for piece in regex.findall(SPLIT, text)}
    parts = {p[i:j] for p in pieces for i in range(len(p)) for j in range(i + 1, len(p) + 1)}
    return {t: rank for t, rank in ranks.items() if len(t) == 1 or t in parts}


def merge_of(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that the last merge before ``token`` leaves of it."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(parts[k] + parts[k + 1], 10**9) for k in range(len(parts) - 1)]
        best = min(range(len(pairs)), key=pairs.__getitem__)
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts[0], parts[1]


def spelt(token: bytes) -> str:
    """A token as vocabularies of byte-level BPE spell it: a printable character for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return "".join(chr(b) if b in plain else chr(256 + others.index(b)) for b in token)


def main() -> None:
    """Write the goldens."""
    ranks = load_tiktoken_bpe(sys.argv[1])
    encoding = tiktoken.Encoding(
        "qwen", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens=SPECIAL
    )

    def ids(text: str) -> list[int]:
        return encoding.encode(text, allowed_special="all")

    def cut() -> list[int]:
        """The tokens of the solution that end within its start."""
        tokens = ids(SOLUTION)
        ends = [len(encoding.decode(tokens[: k + 1])) for k in range(len(tokens))]
        return [token for token, end in zip(tokens, ends, strict=True) if end <= len(START)]

    record, texts = {}, [SOLUTION]
    for style, (text, given) in TEXTS.items():
        opening = "```python\n" if style == "chat-free" else ""
        rest = SOLUTION[len(given) :] + ENDS[style]
        prefix = ids(START) if given else cut()
        record[style] = {
            "prompt": ids(text),
            "with_prefix": ids(text + opening) + ([] if given else prefix),
            "prefix": prefix,
            "answer": [*ids(opening), *ids(rest), SPECIAL["<|im_end|>"]],
        }
        texts += [text, opening, rest, given]
    some = ranks_of(texts, ranks)
    merges = [merge_of(token, ranks) for token in sorted(some, key=some.__getitem__) if token[1:]]
    record["vocabulary"] = {spelt(token): rank for token, rank in some.items()}
    record["merges"] = [[spelt(a), spelt(b)] for a, b in merges]
    text = json.dumps(record)
    lines = re.sub(r'("\w[\w-]*": [\[{]["\[{])', r"\n\1", text)
    (HERE / "qwen_prompts.json").write_text(lines + "\n")


if __name__ == "__main__":
    main()
