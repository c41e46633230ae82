"""The doctor: what it says when a layer is missing, made up or really taken away."""

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import fields, replace

import pytest
from stepcoder_executor.doctor import Attempt, describe, examine
from stepcoder_executor.obstacles import Facts, advice, read_facts

WORKS = Attempt(reason=None)
OPEN = Facts(
    machine="x86_64",
    kernel=(6, 8),
    uid=1000,
    has_user_namespaces=True,
    maps_nobody=True,
    max_user_namespaces=15000,
    unprivileged_userns_clone=None,
    apparmor_restrict_unprivileged_userns=None,
    is_filtered=False,
    container="",
    lsm="",
)
EPERM, ENOSPC, EINVAL, ENOSYS, EOPNOTSUPP = (
    f"UnsupportedError: [Errno {number}] {text}"
    for number, text in (
        (1, "Operation not permitted"), (28, "No space left on device"), (22, "Invalid argument"),
        (38, "Function not implemented"), (95, "Operation not supported"),
    )
)  # fmt: skip

# rung, what the slot said, what is different about the machine, what the advice must name.
OBSTACLES = {
    "no user namespaces": ("full", EINVAL, {"has_user_namespaces": False}, ["CONFIG_USER_NS"]),
    "limit 0": (
        "full", ENOSPC, {"max_user_namespaces": 0},
        ["sysctl -w user.max_user_namespaces=15000"],
    ),
    "limit reached": ("full", ENOSPC, {}, ["raise user.max_user_namespaces"]),
    "Debian's switch": (
        "full", EPERM, {"unprivileged_userns_clone": 0},
        ["sysctl -w kernel.unprivileged_userns_clone=1"],
    ),
    "Ubuntu's switch": (
        "full", EPERM, {"apparmor_restrict_unprivileged_userns": 1},
        ["sysctl -w kernel.apparmor_restrict_unprivileged_userns=0", "userns,"],
    ),
    "rootless container": ("full", EPERM, {"uid": 0, "maps_nobody": False}, ["/etc/subuid"]),
    "Docker": (
        "full", EPERM, {"is_filtered": True, "container": "Docker"},
        ["pivot_root", "--security-opt seccomp=unconfined", "apparmor=unconfined"],
    ),
    "old kernel": ("landlock", ENOSYS, {"kernel": (5, 10)}, ["Linux 5.10 is older", "5.13"]),
    "Landlock off": (
        "landlock", EOPNOTSUPP, {"lsm": "capability,yama"},
        ["lsm=landlock,", "now: capability,yama"],
    ),
    "Landlock not built": ("landlock", ENOSYS, {}, ["CONFIG_SECURITY_LANDLOCK"]),
    "Landlock filtered": (
        "landlock", ENOSYS, {"is_filtered": True}, ["landlock_restrict_self", "in its profile"]
    ),
    "no filters": ("seccomp", EINVAL, {}, ["CONFIG_SECCOMP_FILTER"]),
    "filters filtered": ("seccomp", EPERM, {"is_filtered": True}, ["allow seccomp and prctl"]),
    "architecture": ("seccomp", EPERM, {"machine": "riscv64"}, ["riscv64", "x86_64 or aarch64"]),
}  # fmt: skip


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_stands_in_the_way_is_named_with_its_remedy(name):
    rung, reason, different, words = OBSTACLES[name]
    said = " ".join(advice(rung, reason, replace(OPEN, **different)))
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize("name", OBSTACLES)
def test_a_machine_without_the_obstacle_is_not_told_of_it(name):
    rung, _, _, words = OBSTACLES[name]
    said = " ".join(advice(rung, EPERM, OPEN))
    assert not any(word in said for word in words)


@pytest.mark.parametrize("switch", ["unprivileged_userns_clone", "max_user_namespaces"])
def test_root_is_told_of_limits_and_not_of_switches_for_others(switch):
    said = " ".join(advice("full", EPERM, replace(OPEN, uid=0, **{switch: 0})))
    assert ("sysctl" in said) == (switch == "max_user_namespaces")


def report(missing, facts=OPEN):
    def try_rung(rung):
        return Attempt(reason=missing[rung]) if rung in missing else WORKS

    return examine(try_rung, facts)


# What is missing: the rung in use, whether `required` starts, the last line.
OUTCOMES = {
    "nothing": ({}, "full", True, "'required', 'best' and 'none' all run here"),
    "full": ({"full": EPERM}, "landlock", True, "'required', 'best' and 'none' all run here"),
    "two": (
        {"full": EPERM, "landlock": ENOSYS}, "seccomp", False,
        "'required' refuses to start here; 'best' and 'none' run",
    ),
    "three": (
        {"full": EPERM, "landlock": ENOSYS, "seccomp": EINVAL}, None, False,
        "'best' and 'required' refuse to start here; only 'none' runs",
    ),
    "all": (
        {"full": EPERM, "landlock": ENOSYS, "seccomp": EINVAL, "none": "it ended"}, None, False,
        "no program can be run at all",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_rung_in_use_and_what_starts(name):
    missing, rung, required_ok, last = OUTCOMES[name]
    found = report(missing)
    assert (found["rung"], found["required_ok"]) == (rung, required_ok)
    text = describe(found)
    assert last in text.splitlines()[-1]
    assert text.count("in use") == (rung is not None)
    assert text.count("why not: ") == len(missing)


def test_a_reason_is_followed_by_what_to_change():
    text = describe(report({"full": EPERM}, replace(OPEN, unprivileged_userns_clone=0)))
    lines = [line.strip() for line in text.splitlines()]
    at = lines.index("why not: [Errno 1] Operation not permitted")
    assert lines[at + 1].startswith("to change: kernel.unprivileged_userns_clone is 0: ")
    assert lines[at - 1].startswith("full      no")


def test_an_unknown_obstacle_is_said_to_be_unknown():
    text = describe(report({"full": "the slot ended while starting: odd"}))
    assert "why not: the slot ended while starting: odd\n" in text
    assert "to change: nothing that usually stands in the way was found" in text


def test_notes_of_a_rung_that_works_are_shown():
    found = examine(lambda rung: Attempt(reason=None, notes=(f"less of {rung}",)), OPEN)
    assert "note: less of full" in describe(found)


def test_the_facts_are_read_from_this_machine():
    facts = read_facts()
    assert facts.machine == platform.machine()
    assert facts.kernel >= (3, 10)
    assert {field.name for field in fields(Facts)} == set(report({})["facts"])


def doctor(*before):
    """The doctor's report when its command starts under another."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "stepcoder_executor.cli", "doctor", "--json"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_namespaces_taken_away():
    sh = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    inside = ("unshare", "--user", "--map-root-user", "sh", "-c", sh, "sh")
    if shutil.which("unshare") is None or subprocess.run([*inside, "true"], check=False).returncode:
        pytest.skip("no user namespace can be made here, so none can be taken away")
    found = doctor(*inside)
    full = found["rungs"][0]
    assert not full["works"]
    assert any("user.max_user_namespaces is 0" in step for step in full["advice"])
    assert found["rung"] != "full"


# Answers two system calls with an error, as a container's profile does, then runs its arguments.
UNDER_A_FILTER = """
import ctypes, os, platform, struct, sys
pivot_root = {"x86_64": 155, "aarch64": 41}[platform.machine()]
landlock_create_ruleset, eperm, enosys = 444, 1, 38
load, equal, leave, allow, fail = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000
code = [
    (load, 0, 0, 0),
    (equal, 0, 1, pivot_root), (leave, 0, 0, fail | eperm),
    (equal, 0, 1, landlock_create_ruleset), (leave, 0, 0, fail | enosys),
    (leave, 0, 0, allow),
]
text = b"".join(struct.pack("HBBI", *line) for line in code)
kept = ctypes.create_string_buffer(text, len(text))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(kept)))
libc = ctypes.CDLL(None, use_errno=True)
for option, *words in ((38, 1, 0, 0, 0), (22, 2, ctypes.addressof(program), 0, 0)):
    if libc.prctl(option, *(ctypes.c_ulong(word) for word in words)):
        raise OSError(ctypes.get_errno(), f"prctl {option}")
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="unknown call numbers")
def test_layers_taken_away_by_a_filter():
    found = doctor(sys.executable, "-c", UNDER_A_FILTER)
    full, landlock, seccomp, _ = found["rungs"]
    assert found["facts"]["is_filtered"]
    assert not full["works"]
    assert any("pivot_root" in step for step in full["advice"])
    assert not landlock["works"]
    assert any("landlock_create_ruleset" in step for step in landlock["advice"])
    assert found["rung"] == "seccomp" if seccomp["works"] else found["rung"] is None
    assert not found["required_ok"]
