"""Weights read in slices: the same parameters wherever they lie, and nothing read in vain."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from gguf_files import write_gguf
from random_models import TINY, VARIANTS, random_params

from stepcoder_jax.model.load import save_model
from stepcoder_jax.model.safetensors_folder import write_safetensors
from stepcoder_jax.model.tokenizer import Tokenizer
from stepcoder_jax.model.weights import TensorPlace, policy_shapes, tensor_places

HERE = Path(__file__).parent

# 210 MB of float32; the largest parameter, stacked over layers, is 50 MB.
LARGE = replace(
    TINY, vocab_size=4096, hidden_size=512, num_layers=12, num_heads=8, num_kv_heads=8,
    head_dim=64, intermediate_size=2048,
)  # fmt: skip


def run_on(devices: int, script: str, *arguments: object) -> str:
    flags = f"--xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def some_places() -> list[TensorPlace]:
    by_path = {}
    for config in VARIANTS.values():
        by_path |= {place.path: place for place in tensor_places(config).values()}
    return list(by_path.values())


@pytest.mark.parametrize("place", some_places(), ids=lambda place: place.path)
def test_a_block_of_theirs_holds_the_block_of_ours(place: TensorPlace) -> None:
    ours = np.arange(np.prod(place.shape)).reshape(place.shape)
    theirs = place.to_hf(ours)
    assert theirs.shape == place.hf_shape
    generator = np.random.default_rng(0)
    for _ in range(20):
        index = tuple(
            slice(*sorted(map(int, generator.choice(size + 1, 2, replace=False))))
            for size in place.shape
        )
        block = theirs[place.hf_index(index)]
        np.testing.assert_array_equal(place.from_hf(block, index), ours[index])
    # Half of the heads, or of the inputs, is half of their tensor too.
    half = (slice(0, place.shape[0] // 2), *(slice(0, size) for size in place.shape[1:]))
    assert theirs[place.hf_index(half)].size == ours[half].size


def test_a_projection_is_transposed_and_its_heads_are_joined() -> None:
    place = tensor_places(TINY)["model.layers.0.self_attn.q_proj.weight"]
    ours = np.arange(16 * 4 * 4).reshape(16, 4, 4)
    theirs = place.to_hf(ours)
    assert theirs.shape == (16, 16)
    assert theirs[2 * 4 + 3, 5] == ours[5, 2, 3]
    place = tensor_places(TINY)["model.layers.0.self_attn.o_proj.weight"]
    ours = np.arange(4 * 4 * 16).reshape(4, 4, 16)
    assert place.to_hf(ours)[5, 2 * 4 + 3] == ours[2, 3, 5]


@pytest.mark.parametrize("mesh", ["2,2,2", pytest.param("1,4,2", marks=pytest.mark.slow)])
def test_eight_devices_read_what_one_reads(mesh: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    paths = []
    for name, arch in (("untied", "llama"), ("bias", "qwen2"), ("qk_norm", "qwen3")):
        config = replace(VARIANTS[name], vocab_size=304)
        params = random_params(config)
        save_model(tmp_path / name, config, params, tokenizer, shard_bytes=4000)
        write_gguf(tmp_path / f"{name}.gguf", config, params, tokenizer, arch)
        paths += [tmp_path / name, tmp_path / f"{name}.gguf"]
    run_on(8, "eight_device_weights.py", mesh, *paths)


@pytest.fixture(scope="module")
def large_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    generator = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: generator.standard_normal(x.shape, np.float32), policy_shapes(LARGE)
    )
    (folder / "config.json").write_text(json.dumps(LARGE.to_hf()))
    write_safetensors(folder, LARGE, params)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "mesh"), [(1, "1,1,1"), (8, "1,8,1"), (8, "2,2,2")])
def test_the_host_holds_one_part_of_one_parameter_beside_the_model(
    devices: int, mesh: str, large_folder: Path
) -> None:
    rise, held, part = map(int, run_on(devices, "weights_memory.py", large_folder, mesh).split())
    assert held >= 200_000_000
    # The part as it is filled, and while the device copies it; then what a tensor's pages, the
    # allocator and JAX's own start take. A second copy of the model would be 210 MB.
    assert rise - held < 2 * part + 32_000_000
