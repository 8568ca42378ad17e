"""A lock on an open file, which goes when whoever holds it does, however that ends."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FAR = 1 << 30  # where Windows locks a byte: beyond what is written, because nobody else may write a byte that is locked


def try_lock(file: int) -> bool | None:
    """Lock an open file for ourselves, without waiting; None where its file system knows no locks.

    Closing the file gives the lock back.
    """
    try:
        if sys.platform == "win32":
            where = os.lseek(file, 0, os.SEEK_CUR)
            os.lseek(file, FAR, os.SEEK_SET)
            try:
                msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(file, where, os.SEEK_SET)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        return False if sys.platform == "win32" and isinstance(error, PermissionError) else None
    return True
