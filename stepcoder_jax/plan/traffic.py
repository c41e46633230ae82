"""Bytes that a compiled program moves to and from a device's memory."""

from stepcoder_jax.plan.hlo import Instruction, Module, byte_count

# They name what is there already, or stand for what other instructions move.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("while", "conditional", "call", "partition-id", "replica-id", "iota", "broadcast"),
    "opt-barrier",
}
_SLICES = ("dynamic-slice", "slice", "gather")


def bytes_moved(module: Module) -> int:
    """Bytes of one call, on one device: operands and results of what runs as one kernel.

    Of an array that is only sliced, the slices count; of one that is written in place, what is
    written. What the compiler keeps in a core's own memory does not count. Loops to a constant
    count as often as they run, others once.
    """
    return sum(
        count * sum(_moved(module, name, i) for i in module.computations[name].values())
        for name, count, is_fused in module.runs()
        if not is_fused
    )


def _moved(module: Module, place: str, instruction: Instruction) -> int:
    opcode = instruction.opcode
    if opcode in _FREE or opcode.endswith("-start"):
        return 0
    if opcode.endswith("-done"):
        # One end of a copy between memories is in this one.
        return byte_count(instruction.type)
    written = byte_count(instruction.type, main_memory_only=True)
    inside = module.computations[place]
    operands = [inside[o] for o in instruction.operands if o in inside]
    if opcode in _SLICES:
        return 2 * written
    if opcode == "dynamic-update-slice":
        return 2 * byte_count(operands[1].type, main_memory_only=True)
    if opcode != "fusion":
        return written + sum(byte_count(o.type, main_memory_only=True) for o in operands)
    return _moved_by_fusion(module, instruction, operands, written)


def _moved_by_fusion(
    module: Module, fusion: Instruction, operands: list[Instruction], written: int
) -> int:
    inner = module.computations[fusion.called[0]]
    parameters = {int(i.arguments): i for i in inner.values() if i.opcode == "parameter"}
    root = next(i for i in inner.values() if i.is_root)
    updated = root.operands[0] if root.opcode == "dynamic-update-slice" else None
    if updated is not None:
        written = byte_count(inner[root.operands[1]].type)
    read = 0
    for number, operand in enumerate(operands):
        whole = byte_count(operand.type, main_memory_only=True)
        name = parameters[number].name
        if whole and name != updated:
            read += min(whole, _read(module, fusion.called[0], name))
    return written + read


def _read(module: Module, place: str, name: str) -> int:
    """Bytes of an array that a fused computation reads: its slices, where it only slices."""
    inside = module.computations[place]
    read = 0
    for user in (i for i in inside.values() if name in i.operands):
        if user.opcode in _SLICES and user.operands[0] == name:
            read += byte_count(user.type)
        elif user.opcode == "bitcast":
            read += _read(module, place, user.name)
        elif user.opcode == "fusion":
            inner = module.computations[user.called[0]].values()
            parameters = {int(i.arguments): i.name for i in inner if i.opcode == "parameter"}
            at = [number for number, operand in enumerate(user.operands) if operand == name]
            read += sum(_read(module, user.called[0], parameters[number]) for number in at)
        else:
            return byte_count(inside[name].type)
    return read
