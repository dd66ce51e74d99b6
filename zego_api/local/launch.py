"""Become another program that dies with its parent, and that is not root if it must not be.

Run as a file, before anything else is imported: `python launch.py SIGNAL USER COMMAND...`. When the
parent dies, however it dies, the command gets SIGNAL (Linux; elsewhere the next start reaps it).
USER is a user id to run as, or `-` to stay who we are.
"""

import ctypes
import os
import pwd
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT = 1, 8, 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_CAPABILITY_VERSION_3 = 0x20080522


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapData(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


def main(stop_signal: str, user: str, command: list[str]) -> None:
    """Replace this process by `command`; on failure, exit with one line that says why."""
    parent = os.getppid()
    try:
        if user != "-":
            _become(int(user), needed=[command[0], os.getcwd()])  # noqa: PTH109
        _die_with_parent(signal.Signals[stop_signal], parent)
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error}")


def _die_with_parent(number: int, parent: int) -> None:
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            sys.exit(1)


def _become(uid: int, needed: list[str]) -> None:
    """Give up root for `uid`. What that user cannot reach, it is let reach, by itself alone.

    A checkout often lies where only root may look: its home, a directory made by mktemp. Opening its
    parents to everybody would be a change that nobody asked for; so the one process keeps the right
    to look, and nothing else of what root may do.
    """
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    group = pwd.getpwuid(uid).pw_gid
    os.setgroups([])
    os.setgid(group)
    os.setuid(uid)
    if _reaches(needed):
        return
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        if _keep(capability):
            return
    sys.exit(
        f"the user {pwd.getpwuid(uid).pw_name}, which stands in for root here, cannot reach"
        f" {' or '.join(needed)}. Run it as a normal user, or from a directory open to all."
    )


def _reaches(paths: list[str]) -> bool:
    return all(os.access(path, os.X_OK) for path in paths)


def _keep(capability: int) -> bool:
    """Keep one capability across exec; false where this container does not have it either."""
    if sys.platform != "linux":
        return False
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    bits = 1 << capability
    data = (_CapData * 2)(_CapData(bits, bits, bits), _CapData(0, 0, 0))
    if _libc().capset(ctypes.byref(header), ctypes.byref(data)) != 0:
        return False
    return bool(_libc().prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0) == 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
