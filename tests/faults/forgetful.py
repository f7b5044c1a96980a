"""A forgetful file system: what nobody synced is gone when the power is cut, and every call can be made to fail.

Run by the system's own Python, for which Debian builds pyfuse3; so it imports nothing of Postroom's. Kept in memory.
Each file and folder has what is seen, what would survive, and between the two the changes that no fsync, fdatasync or
fsync of the folder has made durable. It is stricter than any file system in use: a new file is gone until its folder
is synced, a synced one keeps no promise about the file beside it, and after a failed fsync the changes that it should
have saved are seen but never kept, as Linux does it.

    forgetful.py MOUNTPOINT         commands as JSON, one a line, on standard input; answers on standard output

    {"do": "cut", "seed": 7, "how": "drop | prefix | some | torn"}      power cut: nothing may have a file open
    {"do": "arm", "on": "write | sync | any", "at": 3, "errno": 5}      the third from now fails
         "times": 2 (0: for ever)   "name": "-wal" (the end of a name)   "kill": PID (SIGKILL in the call)
    {"do": "disarm"}    {"do": "room", "bytes": 100000 | null}    {"do": "freeze", "on": true} (read-only)
    {"do": "counts"}    {"do": "unsynced"}    {"do": "failed"} (names of what failed, since the last time asked)

The end of standard input unmounts too.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import stat
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyfuse3  # type: ignore[import-not-found]
import trio  # type: ignore[import-not-found]

SECTOR = 512


@dataclass(eq=False)
class Node:
    """A file or a folder."""

    ino: int
    mode: int
    nlink: int = 1
    data: bytearray = field(default_factory=bytearray)
    entries: dict[bytes, Node] = field(default_factory=dict)
    kept_data: bytearray = field(default_factory=bytearray)
    kept_entries: dict[bytes, Node] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    """Not yet durable, in their order."""
    at: int = field(default_factory=time.time_ns)


@dataclass(frozen=True)
class Change:
    """One write, one new size, or one step in a folder (None: the name is gone)."""

    number: int
    offset: int = 0
    data: bytes | None = None
    size: int | None = None
    names: tuple[tuple[bytes, Node | None], ...] = ()


@dataclass
class Fault:
    """A call that will fail, or die."""

    on: str
    at: int
    errno: int = 0
    times: int = 1
    name: str = ""
    kill: int = 0
    seen: int = 0


class Forgetful(pyfuse3.Operations):  # type: ignore[misc]
    """The tree, its faults, and its memory."""

    def __init__(self) -> None:
        super().__init__()
        self._last = int(pyfuse3.ROOT_INODE)
        self._number = 0
        self.root = Node(pyfuse3.ROOT_INODE, stat.S_IFDIR | 0o755)
        self.nodes = {self.root.ino: self.root}
        self.names: dict[int, str] = {}
        self.faults: list[Fault] = []
        self.failed: list[str] = []
        """Names of the files and folders whose calls failed, in their order."""
        self.counts = {"write": 0, "sync": 0, "failed": 0, "killed": 0}
        self.room: int | None = None
        self.frozen = False

    # -- power and faults --------------------------------------------------------------------------------------------

    def cut(self, how: str, seed: int) -> dict[str, int]:
        """Forget what was not synced, or part of it; every node is a new one, so the kernel's cache is void."""
        chance = random.Random(seed)
        found = [node for node in self.nodes.values() if node.changes]
        numbers = sorted(change.number for node in found for change in node.changes)
        last = chance.choice(numbers) if numbers and how == "prefix" else 0
        share = chance.choice((0.1, 0.5, 0.9))
        kept = 0
        for node in sorted(found, key=lambda each: each.ino):
            for change in node.changes:
                if change.number <= last if how == "prefix" else how != "drop" and chance.random() < share:
                    _keep(node, _torn(change, chance) if how == "torn" else change)
                    kept += 1
        self._rebuild()
        return {"unsynced": len(numbers), "kept": kept}

    def _rebuild(self) -> None:
        renewed: dict[int, Node] = {}

        def renew(old: Node) -> Node:
            if old.ino in renewed:
                renewed[old.ino].nlink += 1
                return renewed[old.ino]
            node = renewed[old.ino] = Node(self._new_ino() if old is not self.root else old.ino, old.mode)
            self.names[node.ino] = self.names.get(old.ino, "")
            node.data, node.kept_data = bytearray(old.kept_data), old.kept_data
            node.entries = {name: renew(each) for name, each in old.kept_entries.items()}
            node.kept_entries = dict(node.entries)
            return node

        self.root = renew(self.root)
        self.nodes = {node.ino: node for node in renewed.values()}

    def _trip(self, kind: str, node: Node) -> Fault | None:
        """Count a call; raises what an armed fault says, or answers the fault that kills in this call."""
        self.counts[kind] += 1
        for fault in self.faults:
            if fault.on not in (kind, "any") or not self.names.get(node.ino, "").endswith(fault.name):
                continue
            fault.seen += 1
            if fault.seen < fault.at or (fault.times and fault.seen >= fault.at + fault.times):
                continue
            if fault.kill:
                self.counts["killed"] += 1
                return fault
            self._note(node)
            if kind == "sync":
                node.changes.clear()  # marked clean, and never on the disk
            raise pyfuse3.FUSEError(fault.errno)
        return None

    def _note(self, node: Node) -> None:
        self.counts["failed"] += 1
        self.failed.append(self.names.get(node.ino, ""))

    def _change(self, node: Node, **what: Any) -> None:
        self._number += 1
        node.changes.append(Change(self._number, **what))
        node.at = time.time_ns()

    def _grow(self, node: Node, more: int) -> None:
        if self.room is not None and more > 0:
            if more > self.room:
                self._note(node)
                raise pyfuse3.FUSEError(errno.ENOSPC)
            self.room -= more

    def _thaw(self, node: Node) -> None:
        if self.frozen:
            self._note(node)
            raise pyfuse3.FUSEError(errno.EROFS)

    # -- files -------------------------------------------------------------------------------------------------------

    async def open(self, inode: int, flags: int, ctx: object) -> pyfuse3.FileInfo:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            self._thaw(self._node(inode))
        if flags & os.O_TRUNC:
            self._resize(self._node(inode), 0)
        return pyfuse3.FileInfo(fh=inode, keep_cache=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return bytes(memoryview(self._node(fh).data)[off : off + size])

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        node = self._node(fh)
        self._thaw(node)
        fault = self._trip("write", node)
        self._grow(node, off + len(buf) - len(node.data))
        if fault is not None:  # killed within it: a part of the bytes has come so far
            buf = buf[: len(buf) // 2 // SECTOR * SECTOR]
            os.kill(fault.kill, signal.SIGKILL)
        _put(node.data, off, buf)
        self._change(node, offset=off, data=bytes(buf))
        return len(buf)

    async def fsync(self, fh: int, datasync: bool) -> None:
        self._sync(self._node(fh))

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        self._sync(self._node(fh))

    def _sync(self, node: Node) -> None:
        fault = self._trip("sync", node)
        if fault is not None:
            os.kill(fault.kill, signal.SIGKILL)
            return
        for change in node.changes:
            _keep(node, change)
        node.changes.clear()

    def _resize(self, node: Node, size: int) -> None:
        self._thaw(node)
        self._grow(node, size - len(node.data))
        _size(node.data, size)
        self._change(node, size=size)

    # -- folders -----------------------------------------------------------------------------------------------------

    async def lookup(self, parent_inode: int, name: bytes, ctx: object = None) -> pyfuse3.EntryAttributes:
        return self._attributes(self._entry(parent_inode, name))

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: object
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        node = self._make(parent_inode, name, mode)
        return pyfuse3.FileInfo(fh=node.ino, keep_cache=True), self._attributes(node)

    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: object) -> pyfuse3.EntryAttributes:
        return self._attributes(self._make(parent_inode, name, stat.S_IFDIR | mode))

    def _make(self, parent: int, name: bytes, mode: int) -> Node:
        self._thaw(self._node(parent))
        if name in self._node(parent).entries:
            raise pyfuse3.FUSEError(errno.EEXIST)
        node = Node(self._new_ino(), mode)
        self.nodes[node.ino] = node
        self._name(parent, (name, node))
        return node

    async def link(self, inode: int, new_parent_inode: int, new_name: bytes, ctx: object) -> pyfuse3.EntryAttributes:
        self._thaw(self._node(inode))
        if new_name in self._node(new_parent_inode).entries:
            raise pyfuse3.FUSEError(errno.EEXIST)
        node = self._node(inode)
        node.nlink += 1
        self._name(new_parent_inode, (new_name, node))
        return self._attributes(node)

    async def unlink(self, parent_inode: int, name: bytes, ctx: object) -> None:
        self._thaw(self._node(parent_inode))
        self._entry(parent_inode, name).nlink -= 1
        self._name(parent_inode, (name, None))

    async def rmdir(self, parent_inode: int, name: bytes, ctx: object) -> None:
        if self._entry(parent_inode, name).entries:
            raise pyfuse3.FUSEError(errno.ENOTEMPTY)
        await self.unlink(parent_inode, name, ctx)

    async def rename(
        self, parent_inode_old: int, name_old: bytes, parent_inode_new: int, name_new: bytes, flags: int, ctx: object
    ) -> None:
        self._thaw(self._node(parent_inode_old))
        if flags:
            raise pyfuse3.FUSEError(errno.EINVAL)
        node = self._entry(parent_inode_old, name_old)
        gone = self._node(parent_inode_new).entries.get(name_new)
        if gone is not None:
            gone.nlink -= 1
        if parent_inode_old == parent_inode_new:
            self._name(parent_inode_old, (name_old, None), (name_new, node))
        else:
            self._name(parent_inode_new, (name_new, node))
            self._name(parent_inode_old, (name_old, None))

    def _name(self, parent: int, *steps: tuple[bytes, Node | None]) -> None:
        """One step in a folder, all of it or nothing."""
        folder = self._node(parent)
        _enter(folder.entries, steps)
        self._change(folder, names=steps)
        for name, node in steps:
            if node is not None:
                self.names[node.ino] = os.fsdecode(name)

    async def opendir(self, inode: int, ctx: object) -> int:
        return inode

    async def readdir(self, fh: int, start_id: int, token: object) -> None:
        for number, (name, node) in enumerate(sorted(self._node(fh).entries.items()), 1):
            if number > start_id and not pyfuse3.readdir_reply(token, name, self._attributes(node), number):
                return

    # -- attributes --------------------------------------------------------------------------------------------------

    async def getattr(self, inode: int, ctx: object = None) -> pyfuse3.EntryAttributes:
        return self._attributes(self._node(inode))

    async def setattr(
        self, inode: int, attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields, fh: int | None, ctx: object
    ) -> pyfuse3.EntryAttributes:
        node = self._node(inode)
        if fields.update_size:
            self._resize(node, attr.st_size)
        if fields.update_mode:
            self._thaw(node)
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(attr.st_mode)
        return self._attributes(node)

    async def statfs(self, ctx: object) -> pyfuse3.StatvfsData:
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = 4096
        data.f_blocks = 1 << 20
        data.f_bfree = data.f_bavail = (1 << 20) if self.room is None else self.room // 4096
        data.f_files = data.f_ffree = data.f_favail = 1 << 20
        data.f_namemax = 255
        return data

    def _attributes(self, node: Node) -> pyfuse3.EntryAttributes:
        shown = pyfuse3.EntryAttributes()
        shown.st_ino, shown.st_mode, shown.st_nlink = node.ino, node.mode, max(node.nlink, 0)
        shown.st_uid, shown.st_gid = os.getuid(), os.getgid()
        shown.st_size, shown.st_blksize, shown.st_blocks = len(node.data), 4096, (len(node.data) + 511) // 512
        shown.st_atime_ns = shown.st_mtime_ns = shown.st_ctime_ns = node.at
        shown.entry_timeout, shown.attr_timeout = 0, 300
        return shown

    def _node(self, ino: int) -> Node:
        if ino not in self.nodes:
            raise pyfuse3.FUSEError(errno.ESTALE)  # from before a cut
        return self.nodes[ino]

    def _entry(self, parent: int, name: bytes) -> Node:
        found = self._node(parent).entries.get(name)
        if found is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return found

    def _new_ino(self) -> int:
        self._last += 1
        return self._last


def _put(data: bytearray, offset: int, piece: bytes) -> None:
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(piece)] = piece


def _size(data: bytearray, size: int) -> None:
    if size < len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))


def _enter(entries: dict[bytes, Node], steps: tuple[tuple[bytes, Node | None], ...]) -> None:
    for name, node in steps:
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


def _keep(node: Node, change: Change) -> None:
    """Make a change durable."""
    if change.data is not None:
        _put(node.kept_data, change.offset, change.data)
    elif change.size is not None:
        _size(node.kept_data, change.size)
    _enter(node.kept_entries, change.names)


def _torn(change: Change, chance: random.Random) -> Change:
    """A write of which only the first sectors came to the disk."""
    if change.data is None or chance.random() < 0.5:
        return change
    return Change(
        change.number, change.offset, change.data[: chance.randrange(len(change.data) // SECTOR + 1) * SECTOR]
    )


# -- the process -----------------------------------------------------------------------------------------------------


def obey(disk: Forgetful, command: dict[str, Any]) -> dict[str, Any]:
    """Do one command; its answer."""
    match command.pop("do"):
        case "cut":
            return disk.cut(command.get("how", "drop"), command.get("seed", 0))
        case "arm":
            disk.faults.append(Fault(**command))
        case "disarm":
            disk.faults.clear()
        case "room":
            disk.room = command["bytes"]
        case "freeze":
            disk.frozen = command["on"]
        case "failed":
            names, disk.failed = disk.failed, []
            return dict(Counter(names))
        case "unsynced":
            return {disk.names.get(node.ino, "/"): len(node.changes) for node in disk.nodes.values() if node.changes}
    return disk.counts


async def serve(disk: Forgetful) -> None:
    """Answer the kernel and the commands, until either ends."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main, 1, 1)
        print(json.dumps({"mounted": True}), flush=True)
        received = b""
        async with trio.lowlevel.FdStream(os.dup(0)) as commands:
            async for data in commands:
                *lines, received = (received + data).split(b"\n")
                for line in lines:
                    print(json.dumps(obey(disk, json.loads(line))), flush=True)
        nursery.cancel_scope.cancel()


def main() -> None:
    """Mount, serve, unmount."""
    disk = Forgetful()
    pyfuse3.init(disk, sys.argv[1], {*pyfuse3.default_options, "fsname=forgetful"})
    try:
        trio.run(serve, disk)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
