"""A gate in front of a process's system calls: those on its data directory are counted, and some fail.

A seccomp filter hands each call of the listed kinds to this process before the kernel runs it (user
notification, Linux 5.5 and later; no root needed). strace can inject faults, too, but counts the calls of
each thread by themselves, so that "the N-th pwritev" of a program with threads cannot be named; and it
cannot tell the data directory from the rest. Here one number names one call of the whole process.
"""

import ctypes
import dataclasses
import errno
import fcntl
import math
import os
import platform
import select
import signal
import socket
import struct
import subprocess
import threading
import time

# Numbers of the calls: x86_64 and aarch64, which lacks the old ones.
NUMBERS = {
    "x86_64": {
        "read": 0, "write": 1, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "fsync": 74,
        "fdatasync": 75, "truncate": 76, "ftruncate": 77, "getdents64": 217, "rename": 82, "mkdir": 83,
        "rmdir": 84, "link": 86, "unlink": 87, "openat": 257, "mkdirat": 258, "unlinkat": 263,
        "renameat": 264, "linkat": 265, "sync_file_range": 277, "fallocate": 285, "preadv": 295,
        "pwritev": 296, "renameat2": 316, "preadv2": 327, "pwritev2": 328, "statx": 332,
    },
    "aarch64": {
        "mkdirat": 34, "unlinkat": 35, "linkat": 37, "renameat": 38, "truncate": 45, "ftruncate": 46,
        "fallocate": 47, "openat": 56, "getdents64": 61, "read": 63, "write": 64, "readv": 65, "writev": 66,
        "pread64": 67, "pwrite64": 68, "preadv": 69, "pwritev": 70, "fsync": 82, "fdatasync": 83,
        "sync_file_range": 84, "renameat2": 276, "preadv2": 286, "pwritev2": 287, "statx": 291,
    },
}  # fmt: skip
ARCHITECTURES = {"x86_64": (0xC000003E, 317), "aarch64": (0xC00000B7, 277)}
# Where a path stands among the arguments (after its folder's descriptor, if it has one).
PATHS = {
    "rename": (None, 0), "mkdir": (None, 0), "rmdir": (None, 0), "link": (None, 0), "unlink": (None, 0),
    "truncate": (None, 0), "openat": (0, 1), "mkdirat": (0, 1), "unlinkat": (0, 1), "renameat": (0, 1),
    "renameat2": (0, 1), "linkat": (0, 1), "statx": (0, 1),
}  # fmt: skip
SYNCS = ("fsync", "fdatasync", "sync_file_range")
READS = ("read", "pread64", "readv", "preadv", "preadv2", "getdents64", "statx", "openat")
WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2")

PR_SET_NO_NEW_PRIVS = 38
SET_MODE_FILTER = 1
NEW_LISTENER, WAIT_KILLABLE = 1 << 3, 1 << 5
ALLOW, NOTIFY, CONTINUE = 0x7FFF0000, 0x7FC00000, 1
NOTICE, ANSWER = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
RECEIVE = 3 << 30 | NOTICE.size << 16 | ord("!") << 8
SEND = 3 << 30 | ANSWER.size << 16 | ord("!") << 8 | 1


class Impossible(Exception):
    """No gate can be put up on this machine."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens to the `first`-th call of a kind, and to how many from there on.

    KILL: the process is killed before the call. TORN: half of a write is done, then it is killed.
    SHORT: half of a write is done, and the call says so. DELAY: the call is made `seconds` later.
    All others are names of errors.
    """

    kind: str
    first: int
    what: str
    count: float = 1
    seconds: float = 0

    @classmethod
    def parse(cls, text):
        """`pwritev:37:EIO`; `EIO+` for all calls from there on, `ENOSPC*10` for ten of them."""
        kind, first, what = text.split(":")
        count = 1
        if what.endswith("+"):
            what, count = what[:-1], math.inf
        elif "*" in what:
            what, times = what.split("*")
            count = int(times)
        return cls(kind, int(first), what, count)

    def hits(self, kind, number):
        return kind == self.kind and self.first <= number < self.first + self.count


@dataclasses.dataclass(frozen=True)
class Call:
    kind: str
    number: int
    path: str
    at: float


class Gate:
    """Counts over all processes that are started through it, one after the other."""

    def __init__(self, folder, fault=None):
        self.folder, self.fault = os.path.realpath(folder), fault
        self.calls, self.fired, self.counts = [], [], {}
        machine = platform.machine()
        if machine not in NUMBERS:
            raise Impossible(f"the calls of {machine} are not listed")
        self.names = {number: name for name, number in NUMBERS[machine].items()}
        self.audit, self.seccomp = ARCHITECTURES[machine]
        self.thread = self.process = None

    def start(self, command, **further):
        """Starts a program behind the gate."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            try:
                self.process = subprocess.Popen(
                    command, close_fds=False, preexec_fn=lambda: self.shut(theirs), **further
                )
            except subprocess.SubprocessError as error:
                raise Impossible(f"seccomp with user notification is refused: {error}") from None
            theirs.close()
            _, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
        self.thread = threading.Thread(target=self.serve, args=(listener, self.process), daemon=True)
        self.thread.start()
        return self.process

    def shut(self, theirs):
        """In the child, before it becomes the program. Nothing here may make a call of the list afterwards."""
        words = [(0x20, 0, 0, 4), (0x15, 0, len(self.names) + 1, self.audit), (0x20, 0, 0, 0)]
        last = len(self.names)
        for index, number in enumerate(self.names):
            words.append((0x15, last - index, 0, number))
        words += [(0x06, 0, 0, ALLOW), (0x06, 0, 0, NOTIFY)]
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *word) for word in words))
        program = ctypes.create_string_buffer(struct.pack("@HP", len(words), ctypes.addressof(code)))
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError("no_new_privs")
        for flags in (NEW_LISTENER | WAIT_KILLABLE, NEW_LISTENER):
            listener = libc.syscall(self.seccomp, SET_MODE_FILTER, flags, program)
            if listener >= 0:
                socket.send_fds(theirs, [b"x"], [listener])
                return
        raise OSError("no listener")

    def serve(self, listener, process):
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        try:
            while True:
                for _, event in poll.poll():
                    if not event & select.POLLIN:
                        return
                    notice = bytearray(NOTICE.size)
                    try:
                        fcntl.ioctl(listener, RECEIVE, notice)
                    except OSError:
                        continue
                    self.decide(listener, process, NOTICE.unpack(notice))
        finally:
            os.close(listener)

    def decide(self, listener, process, notice):
        identity, task, _, number, _, _, *arguments = notice
        value, error, flags = 0, 0, CONTINUE
        try:
            kind = self.names[number]
            path = self.path(task, kind, arguments)
            # What is opened for reading changes nothing; what is made does.
            if kind == "openat" and arguments[2] & os.O_CREAT:
                kind = "creat"
            if path is not None and (path == self.folder or path.startswith(self.folder + "/")):
                count = self.counts[kind] = self.counts.get(kind, 0) + 1
                call = Call(kind, count, path[len(self.folder) + 1 :], time.monotonic())
                self.calls.append(call)
                if self.fault and self.fault.hits(kind, count):
                    self.fired.append(call)
                    decided = self.strike(listener, process, identity, task, arguments)
                    if decided is None:
                        return
                    value, error, flags = decided
        except OSError:
            pass  # The thread is gone: nobody waits for an answer.
        self.answer(listener, identity, value, error, flags)

    def strike(self, listener, process, identity, task, arguments):
        """The answer, or None when there is none now."""
        what = self.fault.what
        if what in ("TORN", "SHORT"):
            written = self.half(task, arguments)
            if what == "SHORT":
                return written, 0, 0
        if what in ("KILL", "TORN"):
            os.kill(process.pid, signal.SIGKILL)
            return None
        if what == "DELAY":
            late = threading.Timer(self.fault.seconds, self.answer, (listener, identity, 0, 0, CONTINUE))
            late.daemon = True
            late.start()
            return None
        return 0, -getattr(errno, what), 0

    @staticmethod
    def half(task, arguments):
        """Does the first half of a pwritev in the place of the thread that asked for it."""
        descriptor, vector, count, position = arguments[:4]
        with open(f"/proc/{task}/mem", "rb", buffering=0) as memory:
            parts = struct.unpack(f"={2 * count}Q", os.pread(memory.fileno(), 16 * count, vector))
            pieces = zip(parts[::2], parts[1::2])
            data = b"".join(os.pread(memory.fileno(), size, address) for address, size in pieces)
        target = os.open(f"/proc/{task}/fd/{descriptor}", os.O_WRONLY)
        try:
            return os.pwrite(target, data[: (len(data) + 1) // 2], position)
        finally:
            os.close(target)

    @staticmethod
    def answer(listener, identity, value, error, flags):
        try:
            fcntl.ioctl(listener, SEND, ANSWER.pack(identity, value, error, flags))
        except OSError:
            pass  # It was killed meanwhile.

    @staticmethod
    def path(task, kind, arguments):
        """The file that a call is about, as a whole path."""
        folder, place = PATHS.get(kind, (0, None))
        text = b""
        if place is not None:
            with open(f"/proc/{task}/mem", "rb", buffering=0) as memory:
                start = arguments[place]
                # Not past the page: the next one may not be mapped.
                text = os.pread(memory.fileno(), 4096 - start % 4096, start)
                if b"\0" not in text:
                    text += os.pread(memory.fileno(), 4096, start + len(text))
            text = text.split(b"\0")[0]
        if text.startswith(b"/"):
            return os.path.normpath(os.fsdecode(text))
        descriptor = None if folder is None else ctypes.c_int(arguments[folder] & 0xFFFFFFFF).value
        if descriptor is None or descriptor < 0:
            return os.path.join(os.readlink(f"/proc/{task}/cwd"), os.fsdecode(text))
        return os.path.join(os.readlink(f"/proc/{task}/fd/{descriptor}"), os.fsdecode(text)).rstrip("/")
