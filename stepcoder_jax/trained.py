"""A model that exists already: a run's policy or a folder of weights, found and exported."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import jax

from stepcoder_jax.checkpoint import CheckpointStore
from stepcoder_jax.config import MeshConfig, ModelSettings, RunConfig
from stepcoder_jax.eval_styles import STYLES
from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.load import (
    LoadedModel,
    ModelLoadError,
    load_model,
    open_model,
    save_model,
)
from stepcoder_jax.model.lora import init_adapters, merge
from stepcoder_jax.model.peft_folder import save_peft
from stepcoder_jax.origin import require_origin
from stepcoder_jax.recipe import load_config
from stepcoder_jax.run_dir import RunDir, read_config
from stepcoder_jax.sharding import Mesh, make_mesh
from stepcoder_jax.starting_model import model_outline, placement, starting_model
from stepcoder_jax.types import Params


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model and the recipe it is asked under."""

    config: RunConfig
    model: LoadedModel


def find_model(
    path: Path, config_file: Path | None, change: Callable[[RunConfig], RunConfig]
) -> Trained:
    """Finds what ``--model`` means: a run directory, a Hugging Face folder or a GGUF file.

    Args:
      config_file: the recipe, in place of the run's own or a plain one.
      change: what the command line changes in it; the parameters lie on the mesh of the result.

    Raises:
      ModelLoadError: it is none of these.
    """
    if not path.exists():
        raise ModelLoadError(f"--model {path}: there is no such file or folder")
    is_run = (path / "config.yaml").is_file()
    if config_file is not None:
        config = load_config(config_file)
    else:
        config = read_config(path) if is_run else RunConfig(model=ModelSettings(path=path))
    mesh = make_mesh(change(config).mesh)
    model = trained_model(path, mesh) if is_run else load_model(path, placement(mesh))
    if config_file is None and not is_run and model.tokenizer.chat_template:
        config = replace(config, prompt=STYLES["chat"])
    return Trained(config=change(config), model=model)


def trained_model(run_path: Path, mesh: Mesh) -> LoadedModel:
    """The newest policy of a run, on the mesh: after PPO if there is one, else after SFT.

    Adapters are merged into the weights that they were trained on.

    Raises:
      RunDirError: no run directory, or the adapters of one were trained on other weights.
      ModelLoadError: it has no checkpoint yet.
    """
    config, folder = read_config(run_path), RunDir(run_path)
    if config.lora.rank == 0:
        model = model_outline(config.model, mesh=mesh, tokenizer_dir=folder.tokenizer)
        return replace(model, params=dict(_newest_policy(folder, model.params)))
    model = starting_model(
        config.model, mesh=mesh, texts=(), tokenizer_dir=folder.tokenizer, seed=config.seed
    )
    require_origin(folder, config.model.path, model.params)
    adapters = _newest_adapters(folder, config, model.config)
    return replace(model, params=merge(model.params, adapters, config.lora))


def _newest_adapters(folder: RunDir, config: RunConfig, model: ModelConfig) -> Params:
    return _newest_policy(folder, init_adapters(jax.random.key(0), model, config.lora))


def _newest_policy(folder: RunDir, like: Params) -> Params:
    """What was trained of a run's policy, in the shapes of ``like``."""
    for phase in ("ppo", "sft"):
        if folder.checkpoints(phase).is_dir():
            with closing(CheckpointStore(folder.checkpoints(phase), keep=1)) as store:
                if store.latest is not None:
                    return store.restore_policy(like)
    raise ModelLoadError(f"{folder.path} has no checkpoint yet: nothing has been trained")


def export_run(run_path: Path, out: Path, dtype: str = "float32") -> Path:
    """Writes a run's policy as a folder that transformers and vLLM load.

    Args:
      dtype: of the weights in it: float32 as they were trained, or bfloat16, rounded.

    Raises:
      ModelLoadError: the run has no checkpoint yet, or a file lies where the folder is to be.
    """
    _require_no_file(out)
    # Whatever mesh the run had, its parameters are spread over the devices there are.
    model = trained_model(run_path, make_mesh(MeshConfig(data=1, fsdp=-1)))
    save_model(out, model.config, model.params, model.tokenizer, dtype=dtype)
    return out


def _require_no_file(out: Path) -> None:
    # Before minutes of reading, not when the folder is made.
    file = next((path for path in (out, *out.parents) if path.exists() and not path.is_dir()), None)
    if file is not None:
        raise ModelLoadError(f"--out {out}: {file} is a file; name a folder, there or not")


def export_adapters(run_path: Path, out: Path, dtype: str = "float32") -> Path:
    """Writes what LoRA added to a run's starting model as a folder that PEFT and vLLM load.

    Args:
      dtype: of the adapters in it: float32 as they were trained, or bfloat16, rounded.

    Raises:
      ModelLoadError: the run trained the whole model, or started from one that is in no folder; or
        a file lies where the folder is to be.
    """
    _require_no_file(out)
    config = read_config(run_path)
    base = config.model.path
    if config.lora.rank == 0:
        raise ModelLoadError(
            f"{run_path} trained the whole model (lora.rank = 0): export it without --adapter"
        )
    if base is None:
        raise ModelLoadError(
            f"{run_path} started from fresh weights, which no adapter can be loaded on to: export"
            " the merged model, without --adapter"
        )
    with open_model(base) as stored:
        model = stored.config
    adapters = _newest_adapters(RunDir(run_path), config, model)
    save_peft(out, model, config.lora, adapters, base, dtype=dtype)
    return out
