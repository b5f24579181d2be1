"""Writing: the old content or the new, never a part; a full disk is an error that names the file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from smoothify.errors import OutputExistsError
from smoothify.files import sweep, whole_folder, write_atomically


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)


def test_writing_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert write_atomically(path, "eins").read_text() == "eins"
    assert write_atomically(path, b"zw\xc3\xb6lf").read_text(encoding="utf-8") == "zwölf"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file_and_keeps_the_old_one(tmp_path: Path, full_disk: None) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match=r"No space left.*a\.txt") as caught:
        write_atomically(path, "new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_that_is_really_full(tmp_path: Path) -> None:
    aside = tmp_path / f".a.txt.{os.getpid()}.part"
    aside.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left.*a\.txt"):
        write_atomically(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_atomically(tmp_path / "nowhere" / "a.txt", "new")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_folder_appears_whole_or_not_at_all(error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error), whole_folder(tmp_path / "deep" / "out") as aside:
        write_atomically(aside / "a.txt", "half")
        assert not (tmp_path / "deep" / "out").exists()
        raise error
    assert list((tmp_path / "deep").iterdir()) == []
    with whole_folder(tmp_path / "deep" / "out") as aside:
        write_atomically(aside / "a.txt", "whole")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_an_empty_folder_may_be_filled_and_a_full_one_not(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with whole_folder(tmp_path / "out") as aside:
        write_atomically(aside / "a.txt", "1")
    for existing in (tmp_path / "out", tmp_path / "out" / "a.txt"):
        with pytest.raises(OutputExistsError, match="overwrite=True"), whole_folder(existing):
            raise AssertionError("not reached")


def test_overwriting_keeps_the_old_folder_until_the_end(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out") as aside:
        write_atomically(aside / "old.txt", "1")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "out", overwrite=True):
        raise RuntimeError
    assert (tmp_path / "out" / "old.txt").exists()
    with whole_folder(tmp_path / "link", overwrite=True) as aside:
        write_atomically(aside / "new.txt", "2")
        assert (tmp_path / "out" / "old.txt").exists()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "out"]


def test_a_folder_that_somebody_else_filled_meanwhile_is_kept(tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError), whole_folder(tmp_path / "out") as aside:
        write_atomically(aside / "a.txt", "mine")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "b.txt").write_text("theirs")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.txt"]


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        ([".a.txt.4711.part", "a.txt"], ["a.txt"]),
        ([".step-00000003.0123456789abcdef.pt.4711.part"], []),
        ([".best.x_1abcde.part/", ".best.x_1abcde.old/", "best/"], ["best"]),
        ([".best.x_1abcde.part/", ".best.x_1abcde.old/"], ["best"]),
        ([".evaluation.json.partial/", ".hidden", "a.part"], [".evaluation.json.partial", ".hidden", "a.part"]),
    ],
    ids=["file", "checkpoint", "folder", "between two renames", "not ours"],
)
def test_what_the_killed_leave_is_swept_away(left: list[str], kept: list[str], tmp_path: Path) -> None:
    for name in left:
        if name.endswith("/"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "a.txt").write_text(name)
        else:
            (tmp_path / name).write_text("")
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    sweep(tmp_path / "nowhere")
