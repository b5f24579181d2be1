"""Writing so that a reader sees the old content or the new, never a part: aside, to disk, then renamed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smoothify.errors import OutputExistsError

# what a writer that is killed leaves behind: its name, then the process or a random word
_LEFT = re.compile(r"\.(?P<name>.+)\.\w+\.(?P<kind>part|old)")


def write_atomically(path: str | Path, content: bytes | str) -> Path:
    """Write ``content`` (text as UTF-8) to ``path``, replacing what is there only once all of it is on the
    disk.

    Raises ``OSError``, with the path in it, when the disk is full or the folder is missing; the old file then
    stands.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder) / "note.txt", "one").read_text()
    'one'
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _write_through(aside, data)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise _naming(error, path) from error
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return path


@contextmanager
def whole_folder(folder: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill; it becomes ``folder`` when the block ends well and vanishes when it does
    not.

    Raises ``OutputExistsError`` when ``folder`` exists and is not empty, unless ``overwrite``: then the whole
    of it is replaced, at the end and at once. Raises ``OSError``, with the path in it, when the disk is full.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     with whole_folder(Path(parent) / "model") as aside:
    ...         _ = write_atomically(aside / "note.txt", "one")
    ...     (Path(parent) / "model" / "note.txt").read_text()
    'one'
    """
    folder = Path(folder).resolve()
    if not overwrite:
        refuse_existing(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        aside.chmod(0o755)
        yield aside
        _sync_folder(aside)
        if not overwrite:
            refuse_existing(folder)
        _swap_in(aside, folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def refuse_existing(folder: str | Path) -> None:
    """Raise ``OutputExistsError`` if ``folder`` is a file or a folder that holds anything.

    >>> refuse_existing("a-folder-that-is-not-there")
    """
    folder = Path(folder)
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise OutputExistsError(f"{folder} exists and is not empty; choose another folder, or pass overwrite=True")


def sweep(folder: Path) -> None:
    """Take away what writers left in a folder when they were killed; only who has it to himself may.

    A folder that was moved aside, and whose successor never took its place, is moved back.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / ".note.txt.4711.part").write_text("on")
    ...     sweep(Path(folder))
    ...     list(Path(folder).iterdir())
    []
    """
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        left = _LEFT.fullmatch(path.name)
        if left is None:
            continue
        if left["kind"] == "old" and not (folder / left["name"]).exists():
            path.rename(folder / left["name"])
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _swap_in(aside: Path, folder: Path) -> None:
    """Rename ``aside`` to ``folder``; what stood there is renamed away first and deleted last."""
    old = aside.with_name(aside.name.removesuffix(".part") + ".old")
    had_old = folder.exists()
    if had_old:
        folder.rename(old)
    try:
        aside.rename(folder)
    except BaseException:
        if had_old:
            old.rename(folder)
        raise
    _sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable, where the system lets a folder be opened (not on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _naming(error: OSError, path: Path) -> OSError:
    """``error`` again with ``path`` in it: a failing write() names no file by itself."""
    return type(error)(error.errno, error.strerror or str(error), str(path))
