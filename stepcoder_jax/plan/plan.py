"""``stepcoder plan``: from a recipe and a machine's name to a report."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax

from stepcoder_jax.config import ConfigError, ModelSettings, RunConfig
from stepcoder_jax.model.config import SHAPES, ModelConfig
from stepcoder_jax.model.load import CONFIG_FILE, open_model
from stepcoder_jax.plan.advice import advice
from stepcoder_jax.plan.blueprint import Blueprint
from stepcoder_jax.plan.compiled import with_arranged_weights
from stepcoder_jax.plan.outlook import Outlook, look, on_mesh
from stepcoder_jax.plan.programs import PROGRAMS, SAMPLING
from stepcoder_jax.plan.sweep import sweep
from stepcoder_jax.plan.topology import Topology, compiler_name, find_topology, has_libtpu
from stepcoder_jax.plan.useful import all_parameters, useful_flops
from stepcoder_jax.sharding import make_mesh, outline_mesh

_FORMULAS = (
    "nothing was compiled: arguments are exact, everything else is by formula (docs/scaling.md)"
)
_ASSUMPTIONS = (
    "every row is as long as it can be: the longest prompt bucket and sampling.max_new_tokens",
    "times are bounds: products, memory and links at the chip's peak, latency left out; at best all"
    " three at the same time, else in turn",
    "an exchange goes round one dimension of the torus, both ways",
    "loops without a known end (decoding, the nucleus) count once: decode is one token a slot",
    "a fused attention kernel counts as if its causal mask skipped nothing",
    "what the compiler leaves free is at most what the chip's table says: it keeps some for itself",
)


def make_plan(
    config: RunConfig,
    topology_name: str,
    *,
    programs: Sequence[str] = tuple(PROGRAMS),
    sweeps: bool = False,
    compiles: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Looks at each program of a recipe's PPO phase.

    Args:
      programs: which of ``PROGRAMS``.
      sweeps: try meshes and micro-batches too.
      compiles: whether to compile where that can be done.
      say: told what is being done.

    Raises:
      ConfigError: an unknown chip or shape, a mesh that does not fit it, a model without a config.
    """
    # A plan never takes an accelerator, though one may be here.
    jax.config.update("jax_platforms", "cpu")
    model = model_config(config.model)
    topology = find_topology(topology_name, compiles=compiles)
    plan = _blueprint(config, model, topology)
    if topology.described is not None and set(SAMPLING) & set(programs):
        say("arranging weights for generation")
        with on_mesh(plan):
            plan = with_arranged_weights(plan)
    useful = useful_flops(plan)
    outlooks = []
    for name in programs:
        say(f"{name}: {'compiling' if topology.described is not None else 'estimating'}")
        outlooks.append(look(plan, name, topology, useful))
    return _result(plan, topology, outlooks) | (
        {"sweep": sweep(config, model, topology)} if sweeps else {}
    )


def model_config(settings: ModelSettings) -> ModelConfig:
    """Sizes of the model that a recipe names; of a folder only its config.json is needed.

    Raises:
      ConfigError: there is none.
    """
    path = settings.path
    if path is None:
        if settings.shape not in SHAPES:
            raise ConfigError(f"model.shape = {settings.shape!r}: one of {', '.join(SHAPES)}")
        return replace(SHAPES[settings.shape], vocab_size=settings.vocab_size)
    if path.is_file():
        with open_model(path) as stored:
            return stored.config
    file = path / CONFIG_FILE
    if not file.is_file():
        raise ConfigError(
            f"model.path = {str(path)!r}: there is no {file}; a plan needs that file alone, and"
            " configs/models has some: --model.path configs/models/NAME"
        )
    try:
        return ModelConfig.from_hf(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{file}: {error}") from error


def _blueprint(config: RunConfig, model: ModelConfig, topology: Topology) -> Blueprint:
    if topology.described is None:
        mesh: Any = outline_mesh(config.mesh, topology.devices, topology.abstract_device)
    else:
        mesh = make_mesh(config.mesh, topology.described)
    return Blueprint(config=config, model=model, mesh=mesh)


def _result(plan: Blueprint, topology: Topology, outlooks: Sequence[Outlook]) -> dict[str, Any]:
    device = topology.device
    missing = topology.described is None
    return {
        "topology": topology.name,
        "chips": topology.chips,
        "devices": topology.devices,
        "compiler": None if missing else compiler_name(),
        "device": {
            "hbm_bytes": device.hbm_bytes,
            "bf16_flops_per_s": device.flops_per_s,
            "hbm_bytes_per_s": device.hbm_bytes_per_s,
            "axis_bytes_per_s": device.axis_bytes_per_s,
        },
        "mesh": dict(plan.mesh.shape),
        "parameters": all_parameters(plan),
        "row_tokens": plan.row_tokens,
        "update_rows": plan.update_rows,
        "slots": plan.slots,
        "fits": all(o.fits for o in outlooks),
        "programs": [o.to_json() for o in outlooks],
        "suggestions": advice(plan, outlooks),
        "assumptions": [*([f"{_why(topology)}: {_FORMULAS}"] if missing else []), *_ASSUMPTIONS],
    }


def _why(topology: Topology) -> str:
    if topology.chip.platform == "gpu":
        return "GPUs cannot be compiled for without one"
    return (
        "--estimate"
        if has_libtpu()
        else "libtpu is not installed (pip install 'stepcoder-jax[tpu]')"
    )
