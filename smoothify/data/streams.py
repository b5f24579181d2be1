"""Data sets that are read as they come: nothing is copied to this machine, and nothing known before it arrives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.data import Dataset

from smoothify.data.images import Decoder, decoding
from smoothify.data.sources import Source, builder_of, columns_of, is_image_folder, reading, with_images
from smoothify.data.transforms import Augmentation, Resizing, augment
from smoothify.errors import ConfigError, DataError, UnknownNameError

if TYPE_CHECKING:
    import datasets

Row = dict[str, Any]


@dataclass(frozen=True)
class Stream:
    """One split of an image classification data set, read from its beginning to its end.

    Args:
        name: of the data set.
        split: of the data set.
        rows: its rows, their images not decoded.
        image_column: where a row has its image.
        label_column: where a row has its label.
        classes: the names of its classes.
        count: how many rows the data set says it has; None where it does not say.
        buffer: how many rows are read ahead, to be drawn from at random (rows).
        without: digests of the images that are passed over.

    >>> from importlib.resources import files
    >>> stream = open_stream(str(files("smoothify.data") / "sample"), "test", classes=(), buffer=100)
    >>> rows = stream.in_order(seed=0, epoch=0)
    >>> stream.label_of(next(rows)) in range(10)
    True
    """

    name: str
    split: str
    rows: datasets.IterableDataset
    image_column: str
    label_column: str
    classes: tuple[str, ...]
    count: int | None
    buffer: int
    without: frozenset[bytes] = field(default=frozenset(), repr=False)

    def __str__(self) -> str:
        files = self.rows.num_shards
        among = "one file" if files == 1 else f"{files} files, ten of them at a time"
        return f"{self.name}, split {self.split}, streamed from {among}; shuffled among {self.buffer:,} rows"

    def in_order(self, seed: int, epoch: int) -> Iterator[Row]:
        """Yield rows without end: the split in an order of this epoch, then in that of another pass, and so on.

        Its files are shuffled, and the rows of ten files at a time in a buffer.

        Raises:
            DataError: it cannot be read on, or has no rows.
        """
        for turn in range(epoch, 10**9, 10**6):
            empty = True
            for row in self._once(seed, turn):
                empty = False
                yield row
            if empty:
                raise DataError(f"data set {self.name!r}, split {self.split!r}: it has no images to train on")

    def _once(self, seed: int, turn: int) -> Iterator[Row]:
        shuffled = self.rows.shuffle(seed=seed, buffer_size=self.buffer)
        shuffled.set_epoch(turn)
        try:
            with reading(self.name):
                for row in shuffled:
                    if not self.without or self._digest(row) not in self.without:
                        yield row
        except (TypeError, NotImplementedError) as error:  # of the cast, as in `with_images`
            raise DataError(f"data set {self.name!r}: column {self.image_column!r} holds no images") from error

    def hold_out(self, count: int, *, seed: int) -> tuple[Stream, Source]:
        """Read ``count`` rows into memory, and return the stream without them, and them.

        A copy of one of their images that comes elsewhere in the stream is passed over, too.

        Raises:
            DataError: the split has no more than ``count`` rows, cannot be read, or has a wrong label among them.
        """
        import datasets

        first = list(islice(self._once(seed, 0), count + 1))
        if len(first) <= count:
            raise DataError(
                f"cannot hold {count} of {len(first)} training images out; choose fewer, with data.held_out"
            )
        held_out = first[:count]
        for row in held_out:
            self.label_of(row)
        digests = frozenset(self._digest(row) for row in held_out)
        columns = self.image_column, self.label_column
        rows = datasets.Dataset.from_list([{name: row[name] for name in columns} for row in held_out])
        source = Source(self.name, f"{self.split}, held out", rows, *columns, self.classes)
        left = None if self.count is None else self.count - count
        if left is not None and left < 1:
            raise DataError(
                f"cannot hold {count} of {self.count} training images out; choose fewer, with data.held_out"
            )
        return replace(self, count=left, without=digests), replace(source, rows=with_images(source))

    def label_of(self, row: Row) -> int:
        """Return a row's label.

        Raises:
            DataError: it is none of the classes.
        """
        label, classes = row[self.label_column], len(self.classes)
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < classes:
            named = getattr(self.rows.features[self.label_column], "names", None) is not None
            raise DataError(
                f"{self.describe(row)}: label {label!r} is outside its {classes} classes"
                f"{'' if named else ', those of the test split'}; correct or drop the row"
            )
        return label

    def describe(self, row: Row) -> str:
        """Name a row, as far as it says itself what it is."""
        stored = row[self.image_column] or {}
        path, content = stored.get("path"), stored.get("bytes")
        within = f" of {row['__url__']}" if "__url__" in row else ""
        which = (
            f"{path}{within}" if path else f"an image of {len(content or b'')} bytes, label {row[self.label_column]!r}"
        )
        return f"data set {self.name!r}, split {self.split!r}, {which}"

    def _digest(self, row: Row) -> bytes:
        stored = row[self.image_column] or {}
        content = stored.get("bytes") or (stored.get("path") or "").encode()
        return hashlib.blake2b(content, digest_size=16).digest()


def open_stream(name: str, split: str, *, classes: tuple[str, ...], buffer: int) -> Stream:
    """Open one split of a data set as a stream; no image of it is read.

    Args:
        name: a local folder of parquet or tar files, or a Hub id ``"owner/name"``.
        split: the split's name.
        classes: what its classes are, if its labels have no names.
        buffer: how many rows are read ahead, to be drawn from at random (rows).

    Raises:
        ConfigError: pictures in folders, which gain nothing from it.
        SmoothifyError: what `smoothify.data.load` raises.

    >>> from importlib.resources import files
    >>> stream = open_stream(str(files("smoothify.data") / "sample"), "test", classes=(), buffer=100)
    >>> len(stream.classes)
    10
    """
    import datasets

    builder = builder_of(name)
    if is_image_folder(builder):
        raise ConfigError(
            f"data.streaming: {name!r} is pictures in folders, in the order of their classes; they are read one by one "
            "from their files anyway, and shuffled better: leave it off"
        )
    files = builder.config.data_files or {}
    if split not in files:
        raise UnknownNameError("split", split, [str(one) for one in files], of=f"data set {name!r}")
    with reading(name):
        rows = builder.as_streaming_dataset(split=split)
        if rows.features is None:
            raise ConfigError(
                f"data.streaming: {name!r} does not say what its columns hold, as parquet files do; leave it off"
            )
        image_column, label_column = columns_of(rows, name)
        rows = rows.cast_column(image_column, datasets.Image(decode=False))
    declared = (builder.info.splits or {}).get(split)
    return Stream(
        name=name,
        split=split,
        rows=rows,
        image_column=image_column,
        label_column=label_column,
        classes=tuple(getattr(rows.features[label_column], "names", None) or classes),
        count=None if declared is None else declared.num_examples,
        buffer=buffer,
    )


class StreamedImages(Dataset[tuple[Tensor, int]]):
    """Rows of a stream as images of shape (channels, height, width), float32 in [0, 1], with their labels.

    What `Images` is for rows that are at hand: instead of positions it takes the rows themselves, as they come.

    Args:
        source: the stream.
        images: how many images make an epoch.
        input_size: (channels, height, width) of the model's input.
        augmentation: as `Images` has it.
        auto_augment: as `Images` has it.
        resizing: how a picture of another size is fitted, where no random crop does it.

    >>> from importlib.resources import files
    >>> stream = open_stream(str(files("smoothify.data") / "sample"), "test", classes=(), buffer=100)
    >>> images = StreamedImages(stream, images=2000, input_size=(1, 28, 28))
    >>> pixels, label = images[next(stream.in_order(seed=0, epoch=0))]
    >>> tuple(pixels.shape)
    (1, 28, 28)
    """

    def __init__(
        self,
        source: Stream,
        *,
        images: int,
        input_size: tuple[int, int, int],
        augmentation: Augmentation = "none",
        auto_augment: str | None = None,
        resizing: Resizing | None = None,
    ) -> None:
        self.source, self.input_size, self.augmentation = source, input_size, augmentation
        self._images = images
        self._decoded = Decoder(input_size, augmentation, auto_augment, resizing or Resizing())

    def __len__(self) -> int:
        return self._images

    def __getitem__(self, row: Row) -> tuple[Tensor, int]:
        import datasets

        label = self.source.label_of(row)
        with decoding(lambda: self.source.describe(row)):
            stored = row[self.source.image_column]
            pixels = self._decoded(None if stored is None else datasets.Image().decode_example(stored))
        return augment(pixels.float().div(255), self.augmentation), label
