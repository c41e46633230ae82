"""The data sets that a user downloads: where their files must lie, and who reads them."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stepcoder_jax.data import apps, apps_plus, humaneval, livecodebench, mbpp
from stepcoder_jax.data.problem_file import read_jsonl
from stepcoder_jax.data.problems import ProblemError
from stepcoder_jax.data.raw import Found, unique

Find = Callable[[str, Sequence[Path]], Sequence[Path]]


@dataclass(frozen=True, kw_only=True)
class ManualSet:
    """A data set in files that the user has.

    Attributes:
      name: as in ``name:split``.
      splits: all of them; the first is taken where a name has none; empty: a file's stem each.
      put: what to put where, in words, for messages.
      find: the files of a split in the folders given, best first; empty: not there.
      read: yields what is in those files.
    """

    name: str
    splits: tuple[str, ...]
    put: str
    find: Find
    read: Callable[[str, Sequence[Path]], Iterator[Found]]

    def files(self, split: str, manual_dir: Path | None) -> Sequence[Path]:
        """The files of a split.

        Raises:
          ProblemError: no such split, or no such file; the message says which to put where.
        """
        if self.splits and split not in self.splits:
            known = ", ".join(self.splits)
            raise ProblemError(f"{self.name} has no split {split!r}; there are {known}")
        if manual_dir is None:
            raise ProblemError(f"{self.name}:{split} needs --data.manual_dir, a folder: {self.put}")
        if not manual_dir.is_dir():
            raise ProblemError(f"data.manual_dir = {manual_dir}: no such folder: {self.put}")
        found = self.find(split, [manual_dir / self.name, manual_dir])
        if not found:
            raise ProblemError(f"{self.name}:{split} is not in {manual_dir}: {self.put}")
        return found

    def rows(self, split: str, files: Sequence[Path]) -> Iterator[Found]:
        """Every problem of a split once, and every row that is none."""
        return unique(self.read(split, files))


def checksums(files: Sequence[Path], manual_dir: Path) -> dict[str, str]:
    """File, as seen from ``manual_dir`` -> sha256 of its content."""
    found = {}
    for file in files:
        with file.open("rb") as stream:
            found[str(file.relative_to(manual_dir))] = hashlib.file_digest(
                stream, "sha256"
            ).hexdigest()
    return found


def _first(*names: str) -> Find:
    """The first file of these names; ``{split}`` stands for the split's."""

    def find(split: str, folders: Sequence[Path]) -> Sequence[Path]:
        paths = [folder / name.format(split=split) for folder in folders for name in names]
        return [path for path in paths if path.is_file()][:1]

    return find


def _find_apps(split: str, folders: Sequence[Path]) -> Sequence[Path]:
    parents = [*folders, *(folder.with_name("APPS") for folder in folders[:1])]
    for parent in parents:
        files = sorted(f for f in (parent / split).glob("*/*") if f.name in apps.FILES)
        if files:
            return files
    return _first("{split}.jsonl", "{split}.jsonl.gz", "apps_{split}.jsonl", "{split}.json")(
        split, parents
    )


def _find_apps_plus(split: str, folders: Sequence[Path]) -> Sequence[Path]:
    """The newest release that is there; its one list is the split ``train``."""
    forms = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
    stems = ["{split}", "apps_plus_{split}"]
    if split == "train":
        releases = ["data/v2/data", "data/v2/data_v2", "v2/data", "data_v2", "apps_plus_v2"]
        first = ["data/v1/data", "data/v1/data_v1", "v1/data", "data_v1", "apps_plus_v1"]
        stems = [*stems, *releases, *first, "data/data", "data", "apps_plus", "APPS_Plus", "apps+"]
    return _first(*(stem + form for stem in stems for form in forms))(
        split, [*folders[:1], folders[0].with_name("APPS_Plus"), *folders[1:]]
    )


def _find_livecodebench(split: str, folders: Sequence[Path]) -> Sequence[Path]:
    for folder in folders:
        if split == "test":
            single = _first("livecodebench.jsonl", "livecodebench.json", "code_generation.json")
            # Its own folder: beside other sets, a test.jsonl may be any one's.
            listed = [folder / name for name in livecodebench.FILES.values()]
            found = [*single(split, [folder])] or [p for p in listed if p.is_file()]
            if found and (folder == folders[0] or found[0] not in listed):
                return found
        else:
            files = [folder / name for name in livecodebench.file_names(split)]
            if all(file.is_file() for file in files):
                return files
    return []


MANUAL_SETS: Mapping[str, ManualSet] = {
    s.name: s
    for s in (
        ManualSet(
            name="apps",
            splits=apps.SPLITS,
            put="put the folders train/ and test/ of APPS into apps/ in it (from github.com/"
            "hendrycks/apps), or apps/train.jsonl and apps/test.jsonl with the same content",
            find=_find_apps,
            read=apps.read_apps,
        ),
        ManualSet(
            name="apps_plus",
            splits=apps_plus.SPLITS,
            put="put the list of APPS+ (from github.com/Ablustrund/APPS_Plus) into apps_plus/ in"
            " it, as data.json; a test set of your own as apps_plus/test.json",
            find=_find_apps_plus,
            read=apps_plus.read_apps_plus,
        ),
        ManualSet(
            name="mbpp",
            splits=tuple(mbpp.SPLITS),
            put="put mbpp.jsonl into it or into mbpp/ (974 rows, from the google-research"
            " repository, folder mbpp), or one of its splits as train.jsonl, validation.jsonl…",
            find=_first("{split}.jsonl", "mbpp.jsonl", "{split}.jsonl.gz", "mbpp.jsonl.gz"),
            read=mbpp.read_mbpp,
        ),
        ManualSet(
            name="mbpp_sanitized",
            splits=tuple(mbpp.SPLITS),
            put="put sanitized-mbpp.json into it or into mbpp/ (from the google-research"
            " repository, folder mbpp)",
            find=_first(
                "sanitized-mbpp.json",
                "sanitized-mbpp.jsonl",
                "mbpp/sanitized-mbpp.json",
                "mbpp/sanitized-mbpp.jsonl",
            ),
            read=mbpp.read_sanitized,
        ),
        ManualSet(
            name="humaneval",
            splits=humaneval.SPLITS,
            put="put HumanEval.jsonl or HumanEval.jsonl.gz into it or into humaneval/ (from"
            " github.com/openai/human-eval, folder data)",
            find=_first("HumanEval.jsonl", "HumanEval.jsonl.gz", "humaneval.jsonl"),
            read=humaneval.read_humaneval,
        ),
        ManualSet(
            name="livecodebench",
            splits=livecodebench.SPLITS,
            put="put test.jsonl, test2.jsonl… of livecodebench/code_generation_lite into"
            " livecodebench/ in it, or one file livecodebench.jsonl or .json",
            find=_find_livecodebench,
            read=livecodebench.read_livecodebench,
        ),
        ManualSet(
            name="jsonl",
            splits=(),
            put="put NAME.jsonl, a problem file, into it for jsonl:NAME",
            find=_first("{split}.jsonl", "{split}.jsonl.gz"),
            read=read_jsonl,
        ),
    )
}
