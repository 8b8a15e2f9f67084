"""Ties a process's life to the process that started it, so that nothing survives even a SIGKILL of the starter."""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that forked it ends; a no-op outside Linux.

    ``parent`` is the starter's process id: when it is already gone, this process ends at once.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


# The setting survives execve, so a program that knows nothing of it can be tied, too. This is a child of its own
# because a function run between fork and exec is unsafe (and warned about) in a process with threads.
_TIE_AND_EXEC = f"""
import ctypes, os, sys
if sys.platform.startswith("linux"):
    ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {int(signal.SIGKILL)})
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def tied(command: Sequence[str]) -> list[str]:
    """The command line that runs ``command`` (an absolute program path first) tied to the calling process."""
    return [sys.executable, "-I", "-S", "-c", _TIE_AND_EXEC, str(os.getpid()), *command]
