"""What on this machine stands in the way of a rung of isolation, and how to clear it."""

import os
import platform
import re
from dataclasses import dataclass
from errno import EINVAL, ENOSPC, ENOSYS, EOPNOTSUPP, EUSERS
from pathlib import Path

_NOBODY = 65534
_MACHINES = ("x86_64", "aarch64")
_LANDLOCK_SINCE = (5, 13)
_FILTER = (
    "a system-call filter is in force here already, as in most containers: allow {calls} in its "
    "profile (Docker and Podman: --security-opt seccomp=PROFILE.json, or without any filter "
    "--security-opt seccomp=unconfined; Kubernetes: securityContext.seccompProfile)"
)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the machine says of itself; None where it has no such setting.

    kernel: the first two numbers of the release.
    maps_nobody: whether this user namespace has a user 65534.
    is_filtered: whether this process is under a system-call filter.
    container: what runs it, "" where no sign of one is found.
    lsm: the security modules in use, "" where that cannot be read.
    """

    machine: str
    kernel: tuple[int, int]
    uid: int
    has_user_namespaces: bool
    maps_nobody: bool
    max_user_namespaces: int | None
    unprivileged_userns_clone: int | None
    apparmor_restrict_unprivileged_userns: int | None
    is_filtered: bool
    container: str
    lsm: str


def read_facts() -> Facts:
    """The facts of this machine."""
    kernel = platform.release().split(".")
    return Facts(
        machine=platform.machine(),
        kernel=(int(kernel[0]), int(re.split(r"\D", kernel[1])[0])),
        uid=os.geteuid(),
        has_user_namespaces=os.path.exists("/proc/self/ns/user"),
        maps_nobody=_maps(_NOBODY),
        max_user_namespaces=_setting("user/max_user_namespaces"),
        unprivileged_userns_clone=_setting("kernel/unprivileged_userns_clone"),
        apparmor_restrict_unprivileged_userns=_setting(
            "kernel/apparmor_restrict_unprivileged_userns"
        ),
        is_filtered=re.search(r"(?m)^Seccomp:\s+2$", _text("/proc/self/status")) is not None,
        container=_container(),
        lsm=_text("/sys/kernel/security/lsm").strip(),
    )


def advice(rung: str, reason: str, facts: Facts) -> list[str]:
    """What to change so that a rung works that does not.

    Args:
        rung: ``full``, ``landlock``, ``seccomp`` or ``none``.
        reason: what the slot said when it failed to enter the rung.
        facts: what the machine says of itself.

    Returns:
        What was found in the way, each with its remedy; [] where nothing known is.
    """
    found = re.search(r"\[Errno (\d+)\]", reason)
    errno = int(found[1]) if found else 0
    if rung != "none" and facts.machine not in _MACHINES:
        return [
            f"no system-call filter is known for {facts.machine}: use a machine of "
            f"{' or '.join(_MACHINES)}"
        ]
    match rung:
        case "full":
            return _for_namespaces(errno, facts)
        case "landlock":
            return _for_landlock(errno, facts)
        case "seccomp":
            return _for_filter(errno, facts)
    return []


def _for_namespaces(errno: int, facts: Facts) -> list[str]:
    found = []
    if not facts.has_user_namespaces:
        found.append("the kernel has no user namespaces: it must be built with CONFIG_USER_NS")
    if facts.max_user_namespaces == 0:
        found.append(
            "user.max_user_namespaces is 0: `sysctl -w user.max_user_namespaces=15000` as root"
        )
    elif errno in (ENOSPC, EUSERS):
        found.append(
            "as many user namespaces as allowed exist, or are nested, here or outside the "
            "container: raise user.max_user_namespaces there"
        )
    if facts.uid == 0 and not facts.maps_nobody:
        found.append(
            f"root here is root of a user namespace that has no user {_NOBODY}: start as an "
            "ordinary user, or map more users into the namespace (/etc/subuid of whoever made it)"
        )
    if facts.uid != 0 and facts.unprivileged_userns_clone == 0:
        found.append(
            "kernel.unprivileged_userns_clone is 0: "
            "`sysctl -w kernel.unprivileged_userns_clone=1` as root"
        )
    if facts.uid != 0 and facts.apparmor_restrict_unprivileged_userns == 1:
        found.append(
            "kernel.apparmor_restrict_unprivileged_userns is 1: `sysctl -w "
            "kernel.apparmor_restrict_unprivileged_userns=0` as root, or an AppArmor profile with "
            "`userns,` for this Python"
        )
    if facts.is_filtered:
        found.append(_FILTER.format(calls="clone, unshare, mount, umount2 and pivot_root"))
    if facts.container:
        found.append(
            f"this is a container ({facts.container}): its AppArmor profile may forbid mounting "
            "(Docker and Podman: --security-opt apparmor=unconfined)"
        )
    return found


def _for_landlock(errno: int, facts: Facts) -> list[str]:
    if facts.kernel < _LANDLOCK_SINCE:
        return [f"Linux {facts.kernel[0]}.{facts.kernel[1]} is older than Landlock: 5.13 has it"]
    if errno == EOPNOTSUPP:
        now = f" (now: {facts.lsm})" if facts.lsm else ""
        return [
            "Landlock is built into the kernel and switched off: start Linux with `lsm=landlock,` "
            f"before the modules in use{now}"
        ]
    if facts.is_filtered:
        return [
            _FILTER.format(
                calls="landlock_create_ruleset, landlock_add_rule and landlock_restrict_self"
            )
        ]
    if errno == ENOSYS:
        return ["the kernel is built without Landlock: it needs CONFIG_SECURITY_LANDLOCK"]
    return []


def _for_filter(errno: int, facts: Facts) -> list[str]:
    if facts.is_filtered:
        return [_FILTER.format(calls="seccomp and prctl")]
    if errno in (EINVAL, ENOSYS):
        return [
            "the kernel, or what emulates it, has no system-call filters: it needs "
            "CONFIG_SECCOMP_FILTER"
        ]
    return []


def _maps(uid: int) -> bool:
    for line in _text("/proc/self/uid_map").splitlines():
        first, _, length = map(int, line.split())
        if first <= uid < first + length:
            return True
    return False


def _setting(name: str) -> int | None:
    text = _text(f"/proc/sys/{name}")
    return int(text) if text else None


def _container() -> str:
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "Kubernetes"
    if os.path.exists("/.dockerenv"):
        return "Docker"
    if os.path.exists("/run/.containerenv"):
        return "Podman"
    return _text("/run/systemd/container").strip()


def _text(path: str) -> str:
    """The text of a file, "" where there is none that may be read."""
    try:
        return Path(path).read_text()
    except (FileNotFoundError, PermissionError):
        return ""
