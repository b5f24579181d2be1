"""Who may import whom, one way only, and which library is touched where."""

import ast
from pathlib import Path

import pytest

import smoothify

PACKAGE = Path(smoothify.__file__).parent
# A room may import itself and the rooms before it; hub, data and attacks are beside each other.
ROOMS = ("errors", "files", "protocol", "activations", "surgery", "models", "hub", "data", "attacks", "objectives",
         "evaluation", "training", "reproduction", "cli", "train", "evaluate", "__main__", "__init__")  # fmt: skip
IN_SURGERY = ("sites", "rules", "recognition", "probing", "rewriting")  # then the verbs
APART = {
    "hub": {"data", "attacks"},
    "data": {"hub", "attacks"},
    "attacks": {"hub", "data"},
    "objectives": {"hub", "data"},
}
ONLY_IN = {
    "timm": ("surgery/hosts/", "models/", "hub/", "data/", "training/", "evaluate.py"),
    "transformers": ("surgery/hosts/", "models/", "hub/"),
    "torchvision": ("surgery/hosts/", "models/", "hub/", "data/"),
    "accelerate": ("training/", "evaluation/", "evaluate.py"),
    "huggingface_hub": ("hub/",),
    "safetensors": ("hub/",),
    "datasets": ("data/", "train.py", "evaluate.py"),
    "jsonargparse": ("cli.py",),
    "rich": ("training/progress.py", "train.py", "evaluate.py"),
}
LAZY = ("timm", "transformers", "torchvision", "datasets")
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def imports(file: str) -> list[tuple[str, bool]]:
    """Every module that a file imports, and whether it does so at once (not in a function, not for typing)."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    at_once = {node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)}
    for node in ast.walk(tree):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            at_once -= set(ast.walk(node))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node in at_once) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names = [f"smoothify.{alias.name}" for alias in node.names] if node.module == "smoothify" else [node.module]
            found += [(name or "", node in at_once) for name in names]
    return found


def room_of(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


@pytest.mark.parametrize("file", FILES)
def test_rooms_import_downwards_only(file: str) -> None:
    room = room_of(file)
    assert room in ROOMS, f"{room} is a new room: give it its place in ROOMS"
    allowed = {*ROOMS[: ROOMS.index(room) + 1], "__version__"} - APART.get(room, set())
    for name, _ in imports(file):
        if name.startswith("smoothify."):
            other = name.split(".")[1]
            assert other in allowed, f"{file} imports {name}"


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("surgery/")])
def test_within_surgery_imports_go_downwards_only(file: str) -> None:
    room = file.split("/")[1].removesuffix(".py")
    if room in IN_SURGERY:
        allowed = IN_SURGERY[: IN_SURGERY.index(room) + 1]
        for name, _ in imports(file):
            if name.startswith("smoothify.surgery"):
                assert f"{name}.__init__".split(".")[2] in allowed, f"{file} imports {name}"


@pytest.mark.parametrize("file", FILES)
def test_libraries_stay_in_their_rooms(file: str) -> None:
    for name, at_once in imports(file):
        library = name.split(".")[0]
        if library in ONLY_IN:
            assert file.startswith(ONLY_IN[library]), f"{file} imports {library}"
        if library in LAZY:
            assert not at_once, f"{file} imports {library} at import time; import it where it is used"
        if library == "matplotlib":
            assert Path(file).name == "plots.py", f"{file} imports matplotlib"
        if room_of(file) in ("activations", "surgery") and "hosts/" not in file and Path(file).name != "plots.py":
            assert library not in ("numpy", "PIL", "yaml"), f"{file} imports {library}; torch alone is used here"


def test_importing_is_silent_and_leaves_heavy_libraries_alone() -> None:
    import subprocess
    import sys

    code = (
        "import sys, smoothify\n"
        "heavy = {'timm', 'transformers', 'torchvision', 'datasets', 'matplotlib', 'accelerate'}\n"
        "print(sorted(set(sys.modules) & heavy))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
