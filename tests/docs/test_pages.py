"""Every Python and shell block of README.md and docs/ runs as it stands, in order, page by page.

Python blocks of a page share one namespace, shell blocks one folder. A comment above a shell block may make it cheaper
(``<!-- test: append OPTIONS -->``, to every line of it) or leave it out (``<!-- test: skip, REASON -->``). A Python
block may go into a file, too, for the shell blocks after it (``<!-- test: also append to FILE -->``). The Hub is the
loopback server, empty at the start of a page, with a user ``me`` who is logged in. A YAML block is a table, and is read
as one; there are blocks in no other language but BibTeX.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from smoothify.__main__ import parser as main_parser
from smoothify.evaluate import parser as evaluate_parser
from smoothify.reproduction import read_table
from smoothify.train import parser as train_parser
from tests.hub.server import Hub

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
COMMANDS = {"smoothify": main_parser, "smoothify.train": train_parser, "smoothify.evaluate": evaluate_parser}
_BLOCK = re.compile(
    r"(?:^<!-- test: (?P<note>.*?) -->\n)?^```(?P<kind>python|bash)\n(?P<code>.*?)^```$", re.DOTALL | re.M
)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its code, what the test does to it, and its line in the page."""

    kind: str
    code: str
    note: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(match["kind"], match["code"], match["note"] or "", text.count("\n", 0, match.start("code")) + 1)
        for match in _BLOCK.finditer(text)
    ]


def run_in_shell(block: Block) -> None:
    extra = block.note.removeprefix("append ") if block.note.startswith("append ") else ""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    for command in block.code.splitlines():
        grown = f"{command} {extra}" if ">" not in command else command
        done = subprocess.run(grown, shell=True, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{grown}\n{done.stdout}\n{done.stderr}"


def test_a_table_that_a_page_shows_can_be_read(tmp_path: Path) -> None:
    fence = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.M)
    shown = [code for page in PAGES for code in fence.findall(page.read_text(encoding="utf-8"))]
    assert shown
    for number, code in enumerate(shown):
        file = tmp_path / "any" / f"name_{number}" / "table.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(code, encoding="utf-8")
        shutil.copy(ROOT / "zoo" / "fashion_mnist" / "default.yaml", tmp_path / "any" / "default.yaml")
        assert read_table(file).rows


def test_no_block_is_in_a_language_that_nothing_here_reads() -> None:
    kinds = {kind for page in PAGES for kind in re.findall(r"^ *```(\S+)$", page.read_text(encoding="utf-8"), re.M)}
    assert kinds == {"python", "bash", "yaml", "bibtex"}


def skipped(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.note.startswith("skip, ")]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_page(page: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(page):
        if block in skipped(page):
            continue
        if block.kind == "bash":
            run_in_shell(block)
        else:
            if block.note.startswith("also append to "):
                with Path(block.note.removeprefix("also append to ")).open("a", encoding="utf-8") as file:
                    file.write(block.code)
            padding = "\n" * (block.line - 1)  # so that a traceback shows the page's own line
            exec(compile(padding + block.code, str(page), "exec"), names)


@pytest.mark.parametrize("page", [page for page in PAGES if skipped(page)], ids=lambda page: page.name)
def test_what_a_page_shows_without_running_it_exists(page: Path) -> None:
    """Options of our commands, names of our modules."""
    for block in skipped(page):
        if block.kind == "python":
            names_exist(block.code)
        for command in block.code.replace("\\\n", " ").splitlines() if block.kind == "bash" else ():
            words = shlex.split(command)
            module = next((word for word in words if word in COMMANDS), None)
            if module is not None:
                COMMANDS[module]().parse_args(words[words.index(module) + 1 :])  # else SystemExit


def names_exist(code: str) -> None:
    """Look up every attribute of our modules; what is not ours is not there to be looked at."""
    tree, ours = ast.parse(code), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("smoothify"):
                    ours[alias.asname or "smoothify"] = importlib.import_module(
                        alias.name if alias.asname else "smoothify"
                    )
    named = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    looked_up = [getattr(ours[node.value.id], node.attr) for node in named if node.value.id in ours]
    assert looked_up, "it shows nothing of ours"


def test_links_and_files_named_by_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#)([^)]+)\)", text)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
