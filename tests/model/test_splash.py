"""The fused kernel of TPUs on several devices: simulated ones, and a slice that is compiled for.

Its values and gradients on one device are in ``test_attention.py``.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from stepcoder_jax.model.splash import block_shape

FOLDER = Path(__file__).parent


@pytest.mark.parametrize(
    ("length", "block", "count"),
    [(1, 128, 1), (128, 128, 1), (129, 256, 1), (512, 512, 1), (600, 384, 2), (2048, 512, 4)],
)
def test_blocks_hold_all_tokens_evenly(length: int, block: int, count: int) -> None:
    assert block_shape(length) == (block, count)


def succeeds(script: str, *arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "part"),
    [
        pytest.param("2,1,4", "1,9,1,8", id="two key heads repeated for four devices"),
        pytest.param("4,1,2", "2,9,2,8", id="two rows whole on four devices"),
        pytest.param("1,1,8", "2,9,4,8", id="four heads whole on eight devices"),
    ],
)
def test_values_and_gradients_split_over_eight_devices(mesh: str, part: str) -> None:
    flags = "--xla_force_host_platform_device_count=8"
    succeeds("splash_on_eight_devices.py", mesh, part, XLA_FLAGS=flags)


@pytest.mark.skipif(find_spec("libtpu") is None, reason="libtpu is not installed: the [tpu] extra")
@pytest.mark.parametrize(
    ("mesh", "part"),
    [("1,2,2", "4,2,256,64"), pytest.param("4,1,1", "2,4,256,64", marks=pytest.mark.slow)],
)
def test_the_loss_of_a_decoder_compiles_for_a_tpu_slice(mesh: str, part: str) -> None:
    # Else libtpu asks a metadata server, which only a TPU host has.
    succeeds("tpu_compile.py", "v5e:2x2", mesh, part, TPU_SKIP_MDS_QUERY="1")
