"""Imports point one way, and libraries stay in their place: read from the source."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TRAINER, EXECUTOR = "stepcoder_jax", "stepcoder_executor"

# From the small to the large: a module imports from its own row and the rows above it, no others.
LAYERS = (
    "problem types config config_checks recipe recipe_changes stop background some_names",
    "masked source_text error_place syntax_match stages",
    "kl advantages losses importance curriculum coverage_mask rewards reward_function extract"
    " program optimizer pass_rates",
    "processes last_word lifeline roll_call cluster compiler_memory huge_pages cache_dir"
    " shared_library",
    "model logprobs sampling sharding placement",
    "data checkpoint metrics run_dir progress limits verify report scorecard samples_file"
    " executor_session",
    "learner worker rollout run_data experience finite nonfinite origin",
    "eval_record eval_styles score_samples starting_model workshop trained learner_of",
    "evaluate evaluate_model ppo_metrics trainer ppo_progress ppo sft run sft_run ppo_run train"
    " plan bench export",
    "errors commands cli __main__",
)

# Library -> the only modules that may import it (a package's name stands for all that is in it).
ONLY_IN = {
    "orbax": ("checkpoint",),
    "grain": ("data",),
    "tensorflow_datasets": ("data",),
    "transformers": ("model.tokenizer", "model.load"),
    "tokenizers": ("model.tokenizer",),
    "safetensors": ("model.safetensors_folder", "model.peft_folder"),
    "gguf": ("model.gguf",),
    "datasketch": ("data",),
    "jinja2": ("report",),
    "flax.nnx": (),
    "torch": (),
    "tensorflow": (),
    f"{EXECUTOR}.": (),
}


def source_files(package: Path) -> dict[str, ast.Module]:
    """Modules of a package by dotted name, the package's own name left out."""
    files = sorted(package.rglob("*.py"))
    assert files, f"{package} holds no Python file"
    names = {f: ".".join(f.relative_to(package).with_suffix("").parts) for f in files}
    return {
        name.removesuffix("__init__").rstrip(".") if name.endswith("__init__") else name: ast.parse(
            file.read_text(encoding="utf-8"), str(file)
        )
        for file, name in names.items()
    }


TRAINER_FILES = source_files(ROOT / TRAINER)
EXECUTOR_FILES = source_files(ROOT / "executor" / EXECUTOR)


def imports(tree: ast.Module) -> Iterator[str]:
    """Dotted names that a module imports, wherever in it; `from a import b` gives `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module} in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def own_module(name: str) -> str:
    """The module of the trainer that the imported `name` is, or is defined in."""
    inside = name.removeprefix(f"{TRAINER}.")
    return inside if inside in TRAINER_FILES else inside.rpartition(".")[0]


def dependencies(module: str) -> set[str]:
    return own_modules(module, TRAINER_FILES[module])


def dependencies_at_run_time(module: str) -> set[str]:
    """Without the names that only annotations use."""
    body = [node for node in TRAINER_FILES[module].body if not is_for_type_checkers(node)]
    return own_modules(module, ast.Module(body, type_ignores=[]))


def is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def own_modules(module: str, tree: ast.Module) -> set[str]:
    own = (name for name in imports(tree) if is_in(name, TRAINER))
    return {own_module(name) for name in own} - {module, ""}


def layer(module: str) -> int:
    top = module.partition(".")[0]
    rows = [i for i, row in enumerate(LAYERS) if top in row.split()]
    assert len(rows) == 1, f"{TRAINER}.{module}: give it one place in LAYERS"
    return rows[0]


@pytest.mark.parametrize("module", [name for name in TRAINER_FILES if name])
def test_a_module_imports_only_what_is_smaller(module):
    larger = {name for name in dependencies(module) if layer(name) > layer(module)}
    assert not larger


def test_no_module_imports_itself_by_a_detour():
    graph = {module: dependencies_at_run_time(module) for module in TRAINER_FILES if module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules that import each other: {error.args[1]}")


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_stays_in_its_place(library):
    strangers = {
        module
        for module, tree in TRAINER_FILES.items()
        if not any(is_in(module, place) for place in ONLY_IN[library])
        for name in imports(tree)
        if uses(name, library)
    }
    assert not strangers


def uses(name: str, library: str) -> bool:
    """Whether the import `name` reaches into `library`; a trailing point: its submodules only."""
    if not library.endswith("."):
        return is_in(name, library)
    submodules = {f"{library}{module}" for module in EXECUTOR_FILES if module}
    return any(is_in(name, submodule) for submodule in submodules)


def test_only_sharding_names_mesh_axes():
    strangers = {
        f"{module}:{node.lineno}"
        for module, tree in TRAINER_FILES.items()
        if module != "sharding"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and node.value in ("fsdp", "tensor"))
        or (isinstance(node, ast.Name) and node.id == "PartitionSpec")
    }
    assert not strangers


def test_the_executor_needs_only_the_standard_library_and_ray_in_one_place():
    by_itself = {module.partition(".")[0] for module in EXECUTOR_FILES if "." in module}
    allowed = sys.stdlib_module_names | {EXECUTOR} | by_itself
    outside = {
        f"{module}: {name}"
        for module, tree in EXECUTOR_FILES.items()
        for name in imports(tree)
        if name.partition(".")[0] not in allowed
        and not (is_in(name, "ray") and module == "ray_cluster")
    }
    assert not outside


# Character classes keep the pattern from finding itself.
LEAK = re.compile(
    r"(?<![\w.])/(w[o]rk|r[o]ot|h[o]me/\w+|U[s]ers/\w+)/"
    r"|(index-u[r]l|find-l[i]nks)[ =\"']+\w+:|p[y]pi\.org/simple|files\.p[y]thonhosted|f[i]le:///"
)


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    return [file for file in files if file.is_file()]


def test_no_tracked_file_names_a_machine_or_an_index():
    leaks = [
        f"{file.relative_to(ROOT)}: {match.group()}"
        for file in tracked_files()
        for match in LEAK.finditer(file.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not leaks


@pytest.mark.parametrize("folder", ["w" + "ork", "r" + "oot"])
def test_the_leak_check_finds_a_path(folder):
    assert LEAK.search(f'open("/{folder}/notes")')
    assert not LEAK.search(f"the {folder}/notes of somebody")
