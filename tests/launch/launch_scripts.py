"""A copy of the launch scripts in which every command they call is one that only notes it."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CONFIG = "configs/quickstart.yaml"

# Notes its arguments and the variables that were set for it, then does what `answer` says.
FAKE = """#!{python} -IS
import json, os, sys
shown = {{k: v for k, v in os.environ.items() if k.startswith(("XLA_", "JAX_"))}}
with open({log!r}, "a") as log:
    log.write(json.dumps([{name!r}, *sys.argv[1:], shown]) + "\\n")
{answer}
"""
# What the scripts may use of the system itself.
TOOLS = (
    *("sh", "bash", "env", "grep", "sed", "tr", "cat", "head", "wc", "dirname", "rm"),
    *("printf", "sleep", "kill", "true", "mkdir"),
)


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A folder with launch/ and configs/, and a PATH of fakes and a few plain tools."""

    root: Path

    @property
    def log(self) -> Path:
        return self.root.parent / "log"

    def fake(self, name: str, answer: str = "") -> None:
        """Puts a command on PATH, or at its place in the checkout where the name has a slash."""
        file = self.root / name if "/" in name else self.root.parent / "bin" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        script = FAKE.format(python=sys.executable, log=str(self.log), name=name, answer=answer)
        file.write_text(script if name != "launch/setup.sh" else NOTE_SETUP.format(log=self.log))
        file.chmod(0o755)

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": str(self.root.parent / "bin"), "HOME": str(self.root.parent), **more}

    def run(self, script: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(self.root / "launch" / script), *arguments],
            env=self.environment(**more),
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def planned(self, script: str, *arguments: str, **more: str) -> list[list[str]]:
        """The commands that --dry-run prints, which must have run nothing."""
        result = self.run(script, "--dry-run", *arguments, **more)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        assert not self.log.exists()
        return [shlex.split(line) for line in result.stdout.splitlines()]

    def done(self) -> list[list[str]]:
        """The commands that have run, in the form of ``planned``, ``env`` before those it set."""
        commands = []
        for line in self.log.read_text().splitlines():
            *command, variables = json.loads(line)
            settings = [f"{name}={value}" for name, value in variables.items()]
            commands.append(["env", *settings, *command] if settings else command)
        return commands

    def refusal(self, script: str, *arguments: str, **more: str) -> str:
        """The one line with which bad usage ends, before anything is printed or run."""
        result = self.run(script, *arguments, **more)
        assert result.returncode == 2, (result.returncode, result.stderr)
        assert result.stdout == ""
        assert not self.log.exists()
        (line,) = result.stderr.splitlines()
        return line


NOTE_SETUP = """echo '["sh", "launch/setup.sh", {{}}]' >>{log}\n"""


def make_checkout(folder: Path) -> Checkout:
    root = folder / "checkout"
    shutil.copytree(ROOT / "launch", root / "launch")
    (root / "configs").mkdir()
    shutil.copy(ROOT / CONFIG, root / CONFIG)
    (folder / "bin").mkdir()
    for tool in TOOLS:
        (folder / "bin" / tool).symlink_to(shutil.which(tool) or os.devnull)
    checkout = Checkout(root=root)
    for name in ("launch/setup.sh", ".venv/bin/python", ".venv/bin/stepcoder"):
        checkout.fake(name)
    return checkout
