"""The set-up finds a Python that really starts, and the locks pin everything and name no place."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = sorted((ROOT / "launch").glob("*.lock"))

GOOD = f'#!/bin/sh\nexec {sys._base_executable} "$@"\n'
SHIM_THAT_DOES_NOT_START = '#!/bin/sh\necho "pyenv: $0: command not found" >&2\nexit 127\n'
TOO_OLD = '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.18 && exit\nexit 1\n'


@pytest.fixture
def checkout(tmp_path):
    """A folder with the launch scripts alone, so that nothing is fetched into this checkout."""
    shutil.copytree(ROOT / "launch", tmp_path / "checkout" / "launch")
    return tmp_path / "checkout"


@pytest.fixture
def path_folder(tmp_path):
    """A PATH with the few commands that the scripts use, to which tests add Pythons."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for command in ("sh", "dirname", "mkdir", "cat", "cksum", "head", "sleep", "rm", "env"):
        (folder / command).symlink_to(shutil.which(command))
    return folder


def add(folder, name, script):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(script)
    file.chmod(0o755)
    return file


def run(script, checkout, path_folder, **environment):
    env = {"PATH": str(path_folder), "HOME": str(checkout), **environment}
    return subprocess.run(
        ["sh", str(checkout / "launch" / script)],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )


def found(checkout, path_folder, **environment):
    result = run("find_python.sh", checkout, path_folder, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


BASE = f"{os.path.realpath(sys._base_executable)}\n"


def real(printed):
    return f"{os.path.realpath(printed.strip())}\n"


def test_a_shim_that_does_not_start_is_passed_over(checkout, path_folder):
    add(path_folder, "python3.13", SHIM_THAT_DOES_NOT_START)
    add(path_folder, "python3.12", SHIM_THAT_DOES_NOT_START)
    add(path_folder, "python3", GOOD)
    assert real(found(checkout, path_folder)) == BASE


def test_a_python_that_is_too_old_is_passed_over(checkout, path_folder):
    add(path_folder, "python3", TOO_OLD)
    add(path_folder, "python", GOOD)
    assert real(found(checkout, path_folder)) == BASE


def test_versions_of_pyenv_are_looked_through(checkout, path_folder, tmp_path):
    versions = tmp_path / "pyenv" / "versions"
    add(versions / "3.8.18" / "bin", "python", TOO_OLD)
    add(versions / "mine" / "bin", "python", GOOD)
    assert real(found(checkout, path_folder, PYENV_ROOT=str(tmp_path / "pyenv"))) == BASE


def test_uv_is_asked_when_no_python_is_on_the_path(checkout, path_folder, tmp_path):
    hidden = add(tmp_path / "elsewhere", "python", GOOD)
    add(path_folder, "uv", f'#!/bin/sh\n[ "$2" = find ] && echo {hidden}\nexit 0\n')
    assert real(found(checkout, path_folder)) == BASE


def test_uv_downloads_a_python_when_there_is_none(checkout, path_folder, tmp_path):
    store = tmp_path / "store"
    add(tmp_path / "wheel", "python", GOOD)
    add(
        path_folder,
        "uv",
        f"""#!/bin/sh
case "$1 $2" in
"python find") [ -e {store} ] && echo {tmp_path}/wheel/python ;;
"python install") mkdir {store} ;;
esac
""",
    )
    result = run("find_python.sh", checkout, path_folder)
    assert real(result.stdout) == BASE
    assert store.exists()
    assert "downloads" in result.stderr


def test_the_python_that_was_asked_for_comes_first(checkout, path_folder, tmp_path):
    add(path_folder, "python3", SHIM_THAT_DOES_NOT_START)
    asked = add(tmp_path / "asked", "python", GOOD)
    assert real(found(checkout, path_folder, PYTHON=str(asked))) == BASE


def test_a_python_that_was_asked_for_and_does_not_do_is_an_error(checkout, path_folder, tmp_path):
    add(path_folder, "python3", GOOD)
    asked = add(tmp_path / "asked", "python", TOO_OLD)
    result = run("find_python.sh", checkout, path_folder, PYTHON=str(asked))
    assert result.returncode == 1
    assert str(asked) in result.stderr
    assert "3.12" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("script", ["find_python.sh", "setup.sh"])
def test_no_python_is_one_sentence_that_says_what_to_install(script, checkout, path_folder):
    (checkout / "executor").mkdir()
    for name in ("pyproject.toml", "executor/pyproject.toml"):
        (checkout / name).touch()
    add(path_folder, "python3", TOO_OLD)
    result = run(script, checkout, path_folder)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    for word in ("python3.12", "pyenv", "uv", "install Python 3.12", "PYTHON"):
        assert word in result.stderr
    assert not (checkout / ".venv").exists()


def pins(lock):
    return [line for line in lock.read_text().splitlines() if line and not line.startswith(" ")]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_has_hashes(lock):
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    assert entries
    for entry in entries:
        assert re.fullmatch(
            r"[a-z0-9.-]+==\S+( ; [^\\]+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\\n|$))+", entry
        ), entry


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_place(lock):
    assert not re.search(r"[/@#]|://|--(?!hash=)", lock.read_text())


def test_the_lock_has_what_the_package_names_and_no_torch():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *extras["check"], *extras["gguf"]]
    wanted = {re.match(r"[\w-]+", requirement).group().lower() for requirement in named}
    locked = {pin.partition("==")[0] for pin in pins(ROOT / "launch" / "requirements.lock")}
    assert wanted - {"stepcoder-executor"} <= locked
    assert "torch" not in locked


# A Python whose virtual environments hold itself and whose pip only notes that it was called.
FAKE = """#!/bin/sh
case "$1 $2" in
"-c "*"print("*) echo {folder}/python ;;
"-m venv") mkdir -p .venv/bin && cp {folder}/python .venv/bin/python && echo venv >>{log} ;;
"-m pip") sleep 0.1 && echo pip >>{log} && [ ! -e {folder}/broken ] ;;
"--version "*) echo Python 3.13.0 ;;
esac
"""


@pytest.fixture
def calls(checkout, path_folder, tmp_path):
    """What a set-up with the fake Python did; cleared whenever it is read."""
    log = tmp_path / "log"
    folder = tmp_path / "fake"
    add(folder, "python", FAKE.format(folder=folder, log=log))
    (checkout / "executor").mkdir()
    for name in ("pyproject.toml", "executor/pyproject.toml"):
        (checkout / name).touch()
    (path_folder / "cp").symlink_to(shutil.which("cp"))

    def read():
        lines = log.read_text().split() if log.exists() else []
        log.write_text("")
        return lines

    return read


MADE = ["venv", "pip", "pip", "pip"]


def set_up(checkout, path_folder, tmp_path):
    return run("setup.sh", checkout, path_folder, PYTHON=str(tmp_path / "fake" / "python"))


def test_a_second_set_up_does_nothing_until_a_lock_or_project_changes(
    checkout, path_folder, tmp_path, calls
):
    assert set_up(checkout, path_folder, tmp_path).returncode == 0
    assert calls() == MADE
    assert set_up(checkout, path_folder, tmp_path).stderr == ""
    assert calls() == []
    for name in ("launch/build.lock", "executor/pyproject.toml"):
        with (checkout / name).open("a") as file:
            file.write("\n")
        assert set_up(checkout, path_folder, tmp_path).returncode == 0
        assert calls() == MADE[1:]


def test_a_set_up_that_failed_half_way_starts_afresh(checkout, path_folder, tmp_path, calls):
    broken = tmp_path / "fake" / "broken"
    broken.touch()
    assert set_up(checkout, path_folder, tmp_path).returncode != 0
    assert calls() == ["venv", "pip"]
    broken.unlink()
    assert set_up(checkout, path_folder, tmp_path).returncode == 0
    assert calls() == MADE


def test_an_environment_that_moved_is_made_again(checkout, path_folder, tmp_path, calls):
    set_up(checkout, path_folder, tmp_path)
    calls()
    moved = checkout.rename(tmp_path / "moved")
    assert "replacing .venv" in set_up(moved, path_folder, tmp_path).stderr
    assert calls() == MADE


def test_an_environment_made_by_hand_is_kept(checkout, path_folder, tmp_path, calls):
    (checkout / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(tmp_path / "fake" / "python", checkout / ".venv" / "bin" / "python")
    assert set_up(checkout, path_folder, tmp_path).returncode == 0
    assert calls() == MADE[1:]


@pytest.mark.parametrize("has_flock", [True, False])
def test_set_ups_at_the_same_time_make_one_environment(
    checkout, path_folder, tmp_path, calls, has_flock
):
    if has_flock:
        if shutil.which("flock") is None:
            pytest.skip("this system has no flock(1)")
        (path_folder / "flock").symlink_to(shutil.which("flock"))
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: set_up(checkout, path_folder, tmp_path), range(3)))
    assert [result.returncode for result in done] == [0, 0, 0]
    assert calls() == MADE


@pytest.mark.parametrize("signed", [True, False])
def test_a_lock_whose_owner_died_is_taken_over(checkout, path_folder, tmp_path, calls, signed):
    lock = checkout / ".venv-tools" / "setup.lock.d"
    lock.mkdir(parents=True)
    gone = subprocess.Popen(["true"])
    gone.wait()
    if signed:
        (lock / "pid").write_text(f"{gone.pid}\n")
    assert set_up(checkout, path_folder, tmp_path).returncode == 0
    assert calls() == MADE
