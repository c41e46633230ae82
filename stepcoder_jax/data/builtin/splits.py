"""Which draws and which templates belong to which split, decided by a hash that never changes.

    train             known families: training draws in training templates; hand-written problems
    heldout           known families: held-out draws in held-out templates
    unseen_families   families no other split draws from, in all templates
    handwritten_heldout   hand-written problems kept out of train
    unreviewed        the families of train, in another order; half of the functions print what they
                      should return (`slips`), and so fail their tests

A draw is held out when its digest falls in one bucket of `HELDOUT_BUCKETS`; nothing else (count,
seed, order) can move it to the other side.
"""

import functools
import hashlib
import json

from stepcoder_jax.data.builtin.family import Choice, Family, Parameters
from stepcoder_jax.data.builtin.wording import heldout_templates, training_templates

SPLITS = ("train", "heldout", "unseen_families", "handwritten_heldout", "unreviewed")
HELDOUT_BUCKETS = 5


def digest(*parts: object) -> str:
    """Hash JSON values, the same on every machine and Python: 64 hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True, default=_choice_words)
    return hashlib.sha256(text.encode()).hexdigest()


def _choice_words(value: object) -> str:
    if isinstance(value, Choice):
        return value.words
    raise TypeError(f"cannot hash {value!r}: expected a JSON value or a Choice")


def is_heldout(family: Family, parameters: Parameters) -> bool:
    """Whether a draw of a known family is kept from training."""
    return int(digest("heldout", family.name, parameters)[:8], 16) % HELDOUT_BUCKETS == 0


@functools.cache
def split_draws(family: Family, split: str) -> tuple[Parameters, ...]:
    """List the draws of `family` that `split` may use."""
    if split == "unseen_families":
        return tuple(family.draws())
    wants_heldout = split == "heldout"
    return tuple(draw for draw in family.draws() if is_heldout(family, draw) is wants_heldout)


def split_templates(family: Family, split: str) -> list[str]:
    """List the question templates of `family` that `split` may use."""
    if split == "unseen_families":
        return training_templates(family) + heldout_templates(family)
    return heldout_templates(family) if split == "heldout" else training_templates(family)
