"""The mesh and the table; eight simulated devices in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from jax.sharding import PartitionSpec

from stepcoder_jax.config import ConfigError, MeshConfig
from stepcoder_jax.sharding import MESH_AXES, make_mesh, partition_spec

HERE = Path(__file__).parent


def test_one_device_is_a_mesh_of_ones() -> None:
    assert dict(make_mesh(MeshConfig()).shape) == dict.fromkeys(MESH_AXES, 1)


@pytest.mark.parametrize(
    "sizes", [{"data": 2}, {"data": -1, "fsdp": -1}, {"tensor": 3}, {"data": 0}]
)
def test_sizes_that_do_not_fit_the_devices_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"mesh = .*1 devices"):
        make_mesh(MeshConfig(**sizes))


def test_logical_axes_become_mesh_axes() -> None:
    assert partition_spec(("layers", "embed", "mlp")) == PartitionSpec(None, "fsdp", "tensor")
    assert partition_spec(("batch",)) == PartitionSpec(("data", "fsdp"))


def test_collisions_and_unknown_axes_raise() -> None:
    with pytest.raises(ValueError, match="wanted twice"):
        partition_spec(("heads", "mlp"))
    with pytest.raises(ValueError, match="'width'"):
        partition_spec(("embed", "width"))


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["8,1,1", "1,8,1", "1,1,8", "2,2,2", "4,1,2"])
@pytest.mark.parametrize(
    "script",
    [
        "eight_devices.py",
        "eight_devices_lora.py",
        "eight_devices_sampling.py",
        "eight_devices_variants.py",
    ],
)
def test_eight_devices_do_the_same_as_one(script: str, mesh: str) -> None:
    run(script, mesh)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["llama", "qwen2", "qwen3", "mistral", "deepseek"])
def test_every_model_is_the_same_on_every_mesh_of_eight_devices(model: str) -> None:
    run("eight_devices_models.py", model)


@pytest.mark.parametrize("mesh", ["8,1,1", "1,8,1", "2,4,1", "2,2,2"])
def test_pieces_of_a_batch_are_shared_out_over_all_devices(mesh: str) -> None:
    run("eight_devices_pieces.py", mesh)


def run(script: str, argument: str) -> None:
    """Runs a script with eight simulated devices; it must end well."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = subprocess.run(
        [sys.executable, str(HERE / script), argument],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
