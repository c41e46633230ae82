"""Which rung of isolation this machine allows."""

from typing import Any

from stepcoder_executor.slots import Slot, SlotRefusedError

RUNGS = ("full", "landlock", "seccomp", "none")


def choose(isolation: str) -> tuple[Slot, list[dict[str, Any]]]:
    """Start a slot on the highest rung that works.

    Args:
        isolation: ``required`` takes only ``full`` or ``landlock``, which keep files out of reach;
            ``best`` also ``seccomp``; a rung's own name takes that rung and nothing else.

    Returns:
        The running slot, and for each rung that was tried ``{"rung", "error"}``.

    Raises:
        SlotRefusedError: no rung that the setting allows works here.
    """
    named = {rung: (rung,) for rung in RUNGS}
    allowed = (named | {"required": RUNGS[:2], "best": RUNGS[:3]})[isolation]
    steps: list[dict[str, Any]] = []
    for rung in allowed:
        slot = Slot(rung)
        try:
            slot.wait_ready()
        except SlotRefusedError as error:
            slot.close()
            steps.append({"rung": rung, "error": str(error)})
        else:
            return slot, [*steps, {"rung": rung, "error": None}]
    reasons = "; ".join(f"{step['rung']}: {step['error']}" for step in steps)
    raise SlotRefusedError(
        f"isolation is {isolation!r} and this machine offers none of {', '.join(allowed)} "
        f"({reasons}). `stepcoder-executor doctor` says what to change; isolation 'none' runs "
        "programs with resource limits only"
    )
