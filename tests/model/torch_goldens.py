"""What tests/goldens/make_torch_goldens.py wrote, as our config and parameters beside it."""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.load import read_config
from stepcoder_jax.model.safetensors_folder import SafetensorsFolder
from stepcoder_jax.model.source import read_params

GOLDENS = Path(__file__).parent.parent / "goldens"
CASES = sorted(path.name for path in (GOLDENS / "torch").iterdir())
ROPES = sorted(path.stem for path in (GOLDENS / "rope").glob("*.json"))

# Running these models takes microseconds, and compiling them well takes twice as long as badly.
QUICK_TO_COMPILE = {"xla_backend_optimization_level": 0}


@dataclass(frozen=True, kw_only=True)
class TorchCase:
    """A model of transformers and what it computed; only what stands at a token is comparable."""

    config: ModelConfig
    params: dict
    golden: dict[str, np.ndarray]

    @property
    def tokens(self) -> jax.Array:
        return jnp.asarray(self.golden["tokens"], jnp.int32)

    @property
    def targets(self) -> jax.Array:
        return jnp.asarray(self.golden["targets"], jnp.int32)

    @property
    def is_token(self) -> np.ndarray:
        return np.arange(self.tokens.shape[1])[None] < self.golden["lengths"][:, None]


def read_case(name: str) -> TorchCase:
    folder = GOLDENS / "torch" / name
    config = read_config(folder / "config.json")
    with np.load(folder / "outputs.npz") as file:
        golden = dict(file)
    params = read_params(config, SafetensorsFolder(folder))
    return TorchCase(config=config, params=params, golden=golden)


def read_rope(name: str) -> tuple[ModelConfig, dict[str, np.ndarray]]:
    with np.load(GOLDENS / "rope" / f"{name}.npz") as file:
        return read_config(GOLDENS / "rope" / f"{name}.json"), dict(file)
