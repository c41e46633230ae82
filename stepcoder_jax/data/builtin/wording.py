"""Question templates: an opening, shared by all families, around a family's own phrase.

A template belongs to exactly one side: training questions join a training opening to a training
phrase, held-out questions a held-out opening to a held-out phrase. Held-out templates are new as
sentences, but every word in them is met in training.
"""

from stepcoder_jax.data.builtin.family import Family, Parameters, in_words

OPENINGS = {
    "call": (
        "Write a function {call} that returns {what}.",
        "Complete {call} so that it returns {what}.",
        "Given {given}, the function {call} must return {what}.",
        "Write {call}. It returns {what}.",
    ),
    "stdio": (
        "Read {given} and print {what}.",
        "Write a program that reads {given} and prints {what}.",
        "Given {given} as input, write a program to print {what}.",
        "Complete a program so that it reads {given}, then prints {what}.",
    ),
}

HELDOUT_OPENINGS = {
    "call": (
        "Complete the function {call}. It must return {what}.",
        "Write a function {call}. Given {given}, it returns {what}.",
    ),
    "stdio": (
        "Read {given} as input, then print {what}.",
        "Given {given}, write a program so that it prints {what}.",
    ),
}


def training_templates(family: Family) -> list[str]:
    """Join every training opening to every training phrase of the family."""
    return _joined(OPENINGS[family.style], family.phrases)


def heldout_templates(family: Family) -> list[str]:
    """Join every held-out opening to every held-out phrase of the family."""
    return _joined(HELDOUT_OPENINGS[family.style], family.heldout_phrases)


def _joined(openings: tuple[str, ...], phrases: tuple[str, ...]) -> list[str]:
    return [opening.replace("{what}", phrase) for opening in openings for phrase in phrases]


def question(template: str, family: Family, parameters: Parameters) -> str:
    """Fill a template with the call, what is given, and the parameters: one problem's question."""
    call = f"{family.name}({family.given})"
    return in_words(template, {**parameters, "call": call, "given": family.given})
