"""Files that are whole or not there: written under a name that no other writer has, synced, and renamed. Knows no content."""

from __future__ import annotations

import contextlib
import glob
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

# So many bytes of a file's name are part of its temporary name: both must fit what a file system takes.
_NAME_CHARS = 40


@contextlib.contextmanager
def written_aside(
    path: Path, guard: Callable[[], None] = lambda: None, place: Callable[[Path, Path], None] = os.replace
) -> Iterator[Path]:
    """Yield where to write a file's whole content, and rename it to `path` afterwards, so that no reader ever sees half of it, nor does a
    crash of the machine leave it.

    Args:
        guard: called right before the rename; raises if this process may not write the file any more.
        place: gives the first path's content the name of the second.
    """
    make_folder(path.parent)
    partial = partial_name(path)
    try:
        yield partial
        sync(partial)
        guard()
        place(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_atomically(path: Path, write: Callable[[Path], object], guard: Callable[[], None] = lambda: None) -> None:
    """Write a file, whole or not at all, with a function that writes to the path that it is given; guard as in `written_aside`."""
    with written_aside(path, guard) as partial:
        write(partial)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file's content, whole or not at all."""
    write_atomically(path, lambda partial: partial.write_bytes(data))


def write_text(path: Path, text: str, guard: Callable[[], None] = lambda: None) -> None:
    """Write a file's text, whole or not at all."""
    write_atomically(path, lambda partial: partial.write_text(text), guard)


def create_text(path: Path, text: str) -> None:
    """Write a new file, whole or not at all. Of many processes that try, one succeeds.

    Raises:
        FileExistsError: the file is there already; it stays as it is.
    """
    with written_aside(path, place=os.link) as partial:
        partial.write_text(text)


def partial_name(path: Path) -> Path:
    """Return where a file is written before it is renamed. No two calls return one name, in whatever process or container."""
    return path.with_name(f".{path.name[:_NAME_CHARS]}.{uuid.uuid4().hex}.partial")


def remove_partials(path: Path) -> None:
    """Remove what killed writers of a file left. Only whoever alone may write the file may call this."""
    for left in path.parent.glob(f".{glob.escape(path.name[:_NAME_CHARS])}.*.partial*"):
        left.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that a crash of the machine does not take them away."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        sync_folder(each.parent)


def sync(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk. A file system that cannot do this for folders is left to itself."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def files_fingerprint(files: Iterable[Path]) -> str:
    """Return a hash of files' contents, one after the other."""
    digest = blake2b(digest_size=16)
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
