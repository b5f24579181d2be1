"""The one reporter through which a run speaks, and its form on a terminal."""

from __future__ import annotations

from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Reporter(Protocol):
    """What a run tells as it goes. The core calls it; a command line decides what is shown.

    >>> class Lines(Silent):
    ...     def note(self, text):
    ...         print("smoothify:", text)
    >>> reporter: Reporter = Lines()
    >>> reporter.note("epoch 1 of 25")
    smoothify: epoch 1 of 25
    """

    def note(self, text: str) -> None:
        """Say one line."""

    def begin(self, title: str, total: int) -> None:
        """Start a bar of ``total`` images; the bar before it ends."""

    def advance(self, images: int, figures: str = "") -> None:
        """Move the bar; ``figures`` replaces the text beside it unless empty."""

    def end(self) -> None:
        """Take the bar away."""


class Silent:
    """A reporter that says nothing.

    >>> Silent().note("epoch 1 of 25")
    """

    def note(self, text: str) -> None:
        """Say nothing."""

    def begin(self, title: str, total: int) -> None:
        """Show nothing."""

    def advance(self, images: int, figures: str = "") -> None:
        """Show nothing."""

    def end(self) -> None:
        """Show nothing."""


class Terminal:
    """A reporter that prints notes, and on a terminal a bar with figures, images per second and the time left.

    >>> with Terminal(Console()) as reporter:
    ...     reporter.begin("epoch 1", total=256)
    ...     reporter.advance(128, "loss 1.2")
    ...     reporter.note("half of it")
    half of it
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def note(self, text: str) -> None:
        """Print one line above the bar."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, title: str, total: int) -> None:
        """Show a new bar."""
        self.end()
        if not self._console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            expand=True,
        )
        self._task = self._progress.add_task(title, total=total, figures="", rate="")
        self._progress.start()

    def advance(self, images: int, figures: str = "") -> None:
        """Move the bar and show its pace."""
        if self._progress is None:
            return
        task = self._progress.tasks[0]
        if figures:
            self._progress.update(self._task, figures=figures)
        rate = f"{task.speed:.0f} images/s" if task.speed else ""
        self._progress.update(self._task, advance=images, rate=rate)

    def end(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
