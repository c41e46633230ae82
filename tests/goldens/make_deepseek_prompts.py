"""Write the token ids of prompt texts in the vocabulary of DeepSeek-Coder, without tokenizers.

    python make_deepseek_prompts.py FOLDER

The folder holds `ggml-vocab-deepseek-coder.gguf`, `.gguf.inp` and `.gguf.out`: the vocabulary,
texts and the ids that the model's own tokenizer gives them, of `models/` of llama.cpp, as the
source of the package llama-cpp-python 0.3.36 carries it. The encoder below must come to the same
ids. Made with gguf and regex. Beside the ids stands what of the vocabulary these texts can need,
with the merges. The texts are those of tests/model/test_deepseek_prompts.py.
"""

import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import regex
from gguf import GGUFReader

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "model"))

from test_deepseek_prompts import EOS, SOLUTION, SPECIAL, START, TEXTS  # noqa: E402

NAME = "ggml-vocab-deepseek-coder.gguf"
BETWEEN = "\n__ggml_vocab_test__\n"
# Each splits what those before it left whole.
SPLITS = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}")
ENDS = {"plain": "", "chat": "\n```", "chat-free": "\n```", "completion": "", "mbpp": "\n[DONE]"}
PLAIN = [*range(33, 127), *range(161, 173), *range(174, 256)]
OTHERS = [byte for byte in range(256) if byte not in PLAIN]


def spelt(text: str) -> str:
    """A text as byte-level vocabularies spell it: a printable character for each byte."""
    return "".join(chr(b) if b in PLAIN else chr(256 + OTHERS.index(b)) for b in text.encode())


def pieces(text: str) -> list[str]:
    """What is encoded by itself, in order."""
    parts = [text]
    for pattern in SPLITS:
        parts = [p for part in parts for p in regex.split(f"({pattern})", part) if p]
    return [spelt(part) for part in parts]


class Encoder:
    """Byte-pair encoding, a merge at a time."""

    def __init__(self, tokens: list[str], merges: list[str]) -> None:
        self.tokens = tokens
        self.ids = {token: index for index, token in enumerate(tokens)}
        self.ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}

    def encode(self, text: str) -> list[int]:
        """Ids of a text in which special tokens are themselves."""
        parts = re.split(f"({'|'.join(map(re.escape, SPECIAL))})", text)
        found = [
            [p] if p in SPECIAL else [t for w in pieces(p) for t in self.word(w)] for p in parts
        ]
        return [self.ids[token] for tokens in found for token in tokens]

    def word(self, piece: str) -> list[str]:
        """The tokens of a piece."""
        parts = list(piece)
        while len(parts) > 1:
            ranks = [self.ranks.get(pair, len(self.ranks)) for pair in pairwise(parts)]
            best = min(range(len(ranks)), key=ranks.__getitem__)
            if ranks[best] == len(self.ranks):
                break
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        return parts


def encoder_of(folder: Path) -> Encoder:
    """The encoder, once it has given the published ids."""
    fields = GGUFReader(folder / NAME).fields
    tokens, merges = (fields[f"tokenizer.ggml.{n}"].contents() for n in ("tokens", "merges"))
    encoder = Encoder(tokens, merges)
    with (folder / f"{NAME}.inp").open(encoding="utf-8", newline="") as stream:
        texts = stream.read().split(BETWEEN)
    for text, line in zip(texts, (folder / f"{NAME}.out").read_text().split("\n"), strict=False):
        assert not text or encoder.encode(text) == list(map(int, line.split())), text
    return encoder


def main() -> None:
    """Write the goldens."""
    encoder = encoder_of(Path(sys.argv[1]))
    record, texts = {}, [SOLUTION, *SPLITS, *map(chr, range(128))]
    for style, (text, given) in TEXTS.items():
        opening = "```python\n" if style == "chat-free" else ""
        rest = SOLUTION[len(given) :] + ENDS[style]
        prefix = encoder.encode(START)
        record[style] = {
            "prompt": encoder.encode(text),
            "with_prefix": encoder.encode(text + opening) + ([] if given else prefix),
            "prefix": prefix,
            "answer": encoder.encode(opening + rest + EOS),
        }
        texts += [text, opening, rest, given]
    words = {piece for text in texts for piece in pieces(text)}
    parts = {w[i:j] for w in words for i in range(len(w)) for j in range(i + 1, len(w) + 1)}
    record["vocabulary"] = {t: index for t, index in encoder.ids.items() if t in parts}
    record["merges"] = [" ".join(pair) for pair in encoder.ranks if "".join(pair) in parts]
    lines = re.sub(r'("\w[\w-]*": [\[{]["\[{])', r"\n\1", json.dumps(record))
    (HERE / "deepseek_prompts.json").write_text(lines + "\n")


if __name__ == "__main__":
    main()
