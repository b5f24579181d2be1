"""Where images come from: the embedded sample, a local folder or a Hub data set, all through HF `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothify.data import fashion_mnist
from smoothify.errors import DataError, SmoothifyError, UnknownNameError, nearest, suggestion

if TYPE_CHECKING:
    import datasets

SAMPLE = "fashion_mnist_sample"
"""The 10,000 and 2,000 images of Fashion-MNIST that come with this package, by the name that a config gives them."""
_SAMPLE_FOLDER = Path(__file__).parent / "sample"
_IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp")
_LABEL_COLUMNS = ("label", "labels", "cls", "fine_label")
_MOST_UNSEEN = 30_000  # classes that no row shows: a few rows of ImageNet-21k leave fewer out
CLASS_FOLDERS = "give each class, two at least, a folder: train/cat/1.png, train/dog/2.png"
"""What to do about pictures whose folders do not say what they show."""


@dataclass(frozen=True)
class Source:
    """One split of an image classification data set, its two columns found and its classes known.

    >>> source = load(split="test")
    >>> source.image_column, source.describe(0)
    ('image', "data set 'fashion_mnist_sample', split 'test', row 0")
    """

    name: str
    split: str
    rows: datasets.Dataset
    image_column: str
    label_column: str
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names_classes(self) -> bool:
        """Whether the data says what its classes are, and so how many: a label's own number is no name."""
        named = getattr(self.rows.features[self.label_column], "names", None) is not None
        return named or self.classes != tuple(map(str, range(len(self.classes))))

    def describe(self, row: int) -> str:
        """Name a row, and the file that its image lies in where it does not lie among others."""
        import datasets

        undecoded = self.rows.cast_column(self.image_column, datasets.Image(decode=False))
        path = (undecoded[row][self.image_column] or {}).get("path")
        return f"data set {self.name!r}, split {self.split!r}, row {row}{f' ({path})' if path else ''}"


def load(name: str = SAMPLE, split: str = "train") -> Source:
    """Load one split of an image classification data set.

    Args:
        name: ``"fashion_mnist_sample"`` (embedded, needs no network), ``"fashion_mnist"`` (whole, from Debian's package
            ``dataset-fashion-mnist``), the path of a local folder that `datasets.load_dataset` understands (parquet
            files or an image folder), or a Hub id ``"owner/name"``.
        split: the split's name, ``"train"`` or ``"test"`` for Fashion-MNIST.

    Raises:
        UnknownNameError: nothing goes by that name or split.
        DataError: the split is empty, has no image or no label column, or labels that do not count from 0.

    >>> source = load(split="test")
    >>> len(source), source.classes[:2]
    (2000, ('T-shirt/top', 'Trouser'))
    """
    rows = _rows(name, split)
    if len(rows) == 0:
        raise DataError(f"data set {name!r}, split {split!r}: it is empty; name a split that has images")
    image_column, label_column = columns_of(rows, name)
    source = Source(name, split, rows, image_column, label_column, _classes(rows, label_column, name))
    return replace(source, rows=with_images(source))


def _rows(name: str, split: str) -> datasets.Dataset:
    import datasets

    if name == fashion_mnist.NAME:
        return fashion_mnist.rows(split)
    builder = builder_of(name)
    files = builder.config.data_files or {}
    if files and split not in files:
        error = UnknownNameError("split", split, [str(one) for one in files], of=f"data set {name!r}")
        if is_image_folder(builder) and not error.nearest:
            raise DataError(
                f"{error}; pictures lie in a folder for each split and, in it, for each class: {name}/{split}/cat/1.png"
            )
        raise error
    with reading(name):
        if not files or is_image_folder(builder):  # whose classes are the folders of all its splits
            return datasets.load_dataset(**_arguments(name), split=split)
        return datasets.load_dataset(  # and not the other splits, which may be a hundred times larger
            **{**_arguments(name), "data_files": {split: list(files[split])}},
            split=split,
            features=builder.info.features,
            verification_mode="no_checks",
        )


def builder_of(name: str) -> datasets.DatasetBuilder:
    """Return what `datasets` knows of a data set before any row of it is read.

    Raises:
        UnknownNameError: no data set has this name.
        DataError: there is no such folder or id, or it cannot be reached.
    """
    import datasets

    with reading(name):
        return datasets.load_dataset_builder(**_arguments(name))


def is_image_folder(builder: datasets.DatasetBuilder) -> bool:
    """Tell whether a data set is pictures in folders that are named after their classes."""
    from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

    return isinstance(builder, ImageFolder)


def _arguments(name: str) -> dict[str, Any]:
    if name == SAMPLE:
        return {"path": "parquet", "data_files": {path.stem: str(path) for path in _SAMPLE_FOLDER.glob("*.parquet")}}
    own = [SAMPLE, fashion_mnist.NAME]
    if not Path(name).is_dir() and "/" not in name and nearest(name, own):
        raise UnknownNameError("data set", name, own)
    if not Path(name).is_dir() and (name.startswith((".", "/", "~")) or name.count("/") != 1):
        raise DataError(f"data set {name!r}: no such folder; give an existing folder or a Hub id 'owner/name'")
    return {"path": name}


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what goes wrong in `datasets` into one line that names the data set."""
    import datasets

    try:
        yield
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        if isinstance(error, SmoothifyError):
            raise
        reason = _faulty_table(Path(name)) or _first_line(error)
        raise DataError(f"data set {name!r}: {reason}; check the name, the files and the network") from error


def _faulty_table(folder: Path) -> str | None:
    """Name the parquet file that `datasets` stumbles over without a word of it: one damaged, or without rows."""
    import pyarrow.parquet

    for path in sorted(folder.rglob("*.parquet")) if folder.is_dir() else ():
        try:
            rows = pyarrow.parquet.read_metadata(path).num_rows
        except pyarrow.ArrowInvalid:
            return f"{path} is damaged"
        if rows == 0:
            return f"{path} has no rows"
    return None


def columns_of(rows: datasets.Dataset | datasets.IterableDataset, name: str) -> tuple[str, str]:
    """Find the columns of images and of labels by the names that they go by.

    Raises:
        DataError: the data set has none of these.
    """
    columns = rows.column_names or []
    if columns == ["image"] and Path(name).is_dir():  # `datasets` takes one folder of pictures for no class at all
        raise DataError(f"data set {name!r}: its pictures have no labels; {CLASS_FOLDERS}")
    return _column(columns, _IMAGE_COLUMNS, "image", name), _column(columns, _LABEL_COLUMNS, "label", name)


def _column(columns: list[str], candidates: tuple[str, ...], kind: str, name: str) -> str:
    for candidate in candidates:
        if candidate in columns:
            return candidate
    near = suggestion(nearest(kind, columns))
    raise DataError(f"data set {name!r}: no {kind} column among {columns}; rename it to {candidates[0]!r}{near}")


def with_images(source: Source) -> datasets.Dataset:
    """Return a source's rows, their images as such and not as what they are stored in.

    Raises:
        DataError: the column of images holds something else.
    """
    import datasets

    rows, column = source.rows, source.image_column
    if isinstance(rows.features[column], datasets.Image):
        return rows
    try:
        return rows.cast_column(column, datasets.Image())
    except (TypeError, ValueError, NotImplementedError) as error:
        raise DataError(
            f"data set {source.name!r}: column {column!r} holds no images ({rows.features[column]})"
        ) from error


def _classes(rows: datasets.Dataset, label_column: str, name: str) -> tuple[str, ...]:
    names = getattr(rows.features[label_column], "names", None)
    if names is not None:
        return tuple(names)
    try:
        labels = rows.unique(label_column)
    except NotImplementedError:  # of Arrow: lists and the like
        labels = rows[label_column][:1]
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, int) or label < 0:
            raise DataError(
                f"data set {name!r}: column {label_column!r} holds {label!r}; labels must be whole numbers from 0"
            )
    if max(labels) - len(labels) > _MOST_UNSEEN:
        raise DataError(
            f"data set {name!r}: column {label_column!r} holds {max(labels)}, with {len(labels)} different labels; "
            "labels must count from 0 without large gaps: number the classes anew"
        )
    return tuple(str(label) for label in range(max(labels) + 1))


def _first_line(error: BaseException) -> str:
    error = error.__cause__ or error  # `datasets` wraps what it does not know in a line that says nothing
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
