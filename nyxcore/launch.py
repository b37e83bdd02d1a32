"""Prepares a process and then becomes another program: `launch.py SIGNAL PARENT IDENTITY PROGRAM ARG...`.

Run as a plain file, never imported by the product: doing this between fork and exec inside a process with
threads could deadlock.

SIGNAL    sent to the program by the kernel when PARENT dies (Linux): `kill -9` of a parent leaves no orphans
PARENT    pid of the process that must still be there; 0 = do not tie the program to its parent
IDENTITY  "same", "map:UID" (a private user namespace in which our user appears as UID) or "drop:UID:GID" (as root:
          that account, which may still open our closed folders)
"""

from __future__ import annotations

import os
import sys
from signal import SIG_DFL, SIGHUP, SIGINT, SIGQUIT, SIGTERM
from signal import signal as reset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS, NO_SETUID_FIXUP = 28, 4
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION = 0x20080522
CANNOT = 71  # EX_OSERR: the identity is not to be had on this machine
NOT_FOUND = 72


def c_library() -> Any:
    """Imported only where needed, but before `take`: another user may not be able to read our Python."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def map_user(libc: Any, uid: int) -> None:
    """Enter a user namespace whose only user is ours, named `uid` inside. Outside nothing changes."""
    outside_uid, outside_gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError("user namespaces are forbidden")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outside_uid} 1"),
        ("gid_map", f"{uid} {outside_gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def drop_to(libc: Any, uid: int, gid: int) -> None:
    """Become another account that keeps one right of root: to pass folders that are closed to it.

    So the data may lie below folders of mode 0700 and no mode has to change.
    """
    import ctypes

    def must(done: int, what: str) -> None:
        if done != 0:
            raise OSError(f"{what} is forbidden")

    # Capabilities outlive the change of user, and access(2), which initdb asks, respects them.
    must(libc.prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0), "keeping capabilities")
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    one = 1 << CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)(one, one, one, 0, 0, 0)  # effective, permitted, inheritable
    must(libc.capset(header, sets), "a capability")
    must(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0), "an ambient capability")


def take(libc: Any, identity: str) -> None:
    kind, _, rest = identity.partition(":")
    if kind == "map":
        map_user(libc, int(rest))
    elif kind == "drop":
        uid, gid = map(int, rest.split(":"))
        drop_to(libc, uid, gid)


def tie_to_parent(libc: Any, signal: int, parent: int) -> None:
    """Ask for `signal` at the parent's death; end at once if it died before we could ask."""
    if parent == 0:
        return
    if libc is not None:
        libc.prctl(PR_SET_PDEATHSIG, signal)
    if os.getppid() != parent:
        sys.exit(CANNOT)


def main() -> None:
    # A shell's background job ignores Ctrl-C; what we become must not inherit that, or its stop signal is lost.
    for number in (SIGINT, SIGTERM, SIGQUIT, SIGHUP):
        reset(number, SIG_DFL)
    signal, parent, identity, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    libc = c_library() if sys.platform == "linux" and (parent or identity != "same") else None
    try:
        take(libc, identity)
    except OSError as error:
        sys.stderr.write(f"cannot take identity {identity}: {error}\n")
        sys.exit(CANNOT)
    tie_to_parent(libc, signal, parent)
    try:
        os.execv(program, sys.argv[4:])
    except OSError as error:
        sys.stderr.write(f"cannot run {program}: {error}\n")
        sys.exit(NOT_FOUND)


if __name__ == "__main__":
    main()
