"""The ways in which benchmarks are put to models: prompts that have a name."""

from collections.abc import Mapping

from stepcoder_jax.config import PromptConfig

# MBPP's paper shows tasks 2, 3 and 4 of its prompt split, solved.
_MBPP = PromptConfig(
    format="mbpp", answer_start="[BEGIN]\n", answer_end="\n[DONE]", stop=("[DONE]",)
)

STYLES: Mapping[str, PromptConfig] = {
    # A short fixed layout; the answer is the program.
    "plain": PromptConfig(),
    # The tokenizer's template, its answer's fence opened for it: the answer is one fenced program.
    "chat": PromptConfig(
        format="chat", answer_start="```python\n", answer_end="\n```", stop=("\n```",)
    ),
    # The template alone; the program is looked for in what the model says.
    "chat-free": PromptConfig(format="chat", extract="fenced", answer_end="\n```"),
    # HumanEval as it was published: the model goes on from the starter code. Where it stops is the
    # list of Chen et al. (arXiv 2107.03374).
    "completion": PromptConfig(
        format="completion", stop=("\nclass", "\ndef", "\n#", "\nif", "\nprint")
    ),
    # MBPP as it was published (Austin et al., arXiv 2108.07732): its sentence, [BEGIN] and [DONE].
    "mbpp": _MBPP,
    "mbpp-3shot": PromptConfig(
        format="mbpp",
        answer_start=_MBPP.answer_start,
        answer_end=_MBPP.answer_end,
        stop=_MBPP.stop,
        shots=("mbpp/2", "mbpp/3", "mbpp/4"),
    ),
}
