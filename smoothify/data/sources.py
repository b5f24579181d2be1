"""Where images come from: the embedded sample, a local folder or a Hub data set, all through HF `datasets`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smoothify.data import fashion_mnist
from smoothify.errors import DataError, UnknownNameError, nearest, suggestion

if TYPE_CHECKING:
    import datasets

SAMPLE = "fashion_mnist_sample"
_SAMPLE_FOLDER = Path(__file__).parent / "sample"
_IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp")
_LABEL_COLUMNS = ("label", "labels", "cls", "fine_label")


@dataclass(frozen=True)
class Source:
    """One split of an image classification data set, its two columns found and its classes known."""

    name: str
    split: str
    rows: datasets.Dataset
    image_column: str
    label_column: str
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def file_of(self, row: int) -> str:
        """Name the file that a row's image lies in, in brackets; nothing where it lies among others."""
        import datasets

        undecoded = self.rows.cast_column(self.image_column, datasets.Image(decode=False))
        path = undecoded[row][self.image_column]["path"]
        return f" ({path})" if path else ""


def load(name: str = SAMPLE, split: str = "train") -> Source:
    """Load one split of an image classification data set.

    Args:
        name: ``"fashion_mnist_sample"`` (embedded, needs no network), ``"fashion_mnist"`` (whole, from Debian's package
            ``dataset-fashion-mnist``), the path of a local folder that `datasets.load_dataset` understands (parquet
            files or an image folder), or a Hub id ``"owner/name"``.
        split: the split's name, ``"train"`` or ``"test"`` for Fashion-MNIST.

    Raises:
        UnknownNameError: nothing goes by that name or split.
        DataError: the split is empty, or has no image or no label column.

    >>> source = load(split="test")
    >>> len(source), source.classes[:2]
    (2000, ('T-shirt/top', 'Trouser'))
    """
    rows = _rows(name, split)
    if len(rows) == 0:
        raise DataError(f"data set {name!r}, split {split!r}: it is empty; name a split that has images")
    image_column = _column(rows, _IMAGE_COLUMNS, "image", name)
    label_column = _column(rows, _LABEL_COLUMNS, "label", name)
    rows = _with_images(rows, image_column, name)
    return Source(name, split, rows, image_column, label_column, _classes(rows, label_column, name))


def _rows(name: str, split: str) -> datasets.Dataset:
    import datasets

    if name == fashion_mnist.NAME:
        return fashion_mnist.rows(split)
    if name == SAMPLE:
        files = {path.stem: str(path) for path in sorted(_SAMPLE_FOLDER.glob("*.parquet"))}
        arguments: dict[str, object] = {"path": "parquet", "data_files": files}
    elif Path(name).is_dir() or "/" in name:
        arguments = {"path": name}
        if not Path(name).is_dir() and (name.startswith((".", "/", "~")) or name.count("/") != 1):
            raise DataError(f"data set {name!r}: no such folder; give an existing folder or a Hub id 'owner/name'")
    else:
        raise UnknownNameError("data set", name, [SAMPLE, fashion_mnist.NAME])
    try:
        loaded = datasets.load_dataset(**arguments)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = f"{empty} has no rows" if (empty := _empty_table(Path(name))) else _first_line(error)
        raise DataError(f"data set {name!r}: {reason}; check the name, the files and the network") from error
    if split not in loaded:
        raise UnknownNameError(f"split of data set {name!r}", split, list(loaded))
    return loaded[split]


def _empty_table(folder: Path) -> Path | None:
    """Find the parquet file without rows that `datasets` stumbles over."""
    import pyarrow.parquet

    if not folder.is_dir():
        return None
    tables = sorted(folder.rglob("*.parquet"))
    return next((path for path in tables if pyarrow.parquet.read_metadata(path).num_rows == 0), None)


def _column(rows: datasets.Dataset, candidates: tuple[str, ...], kind: str, name: str) -> str:
    for candidate in candidates:
        if candidate in rows.column_names:
            return candidate
    near = suggestion(nearest(kind, rows.column_names))
    raise DataError(
        f"data set {name!r}: no {kind} column among {rows.column_names}; rename it to {candidates[0]!r}{near}"
    )


def _with_images(rows: datasets.Dataset, column: str, name: str) -> datasets.Dataset:
    import datasets

    if isinstance(rows.features[column], datasets.Image):
        return rows
    try:
        return rows.cast_column(column, datasets.Image())
    except (TypeError, ValueError, NotImplementedError) as error:
        raise DataError(f"data set {name!r}: column {column!r} holds no images ({rows.features[column]})") from error


def _classes(rows: datasets.Dataset, label_column: str, name: str) -> tuple[str, ...]:
    names = getattr(rows.features[label_column], "names", None)
    if names is not None:
        return tuple(names)
    labels = rows.unique(label_column)
    if any(isinstance(label, bool) or not isinstance(label, int) or label < 0 for label in labels):
        raise DataError(
            f"data set {name!r}: column {label_column!r} holds {labels[0]!r}; labels must be whole numbers from 0"
        )
    return tuple(str(label) for label in range(max(labels) + 1))


def _first_line(error: BaseException) -> str:
    error = error.__cause__ or error  # `datasets` wraps what it does not know in a line that says nothing
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
