"""Averages of the weights along a run: what is measured and saved in place of the newest weights."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from smoothify.models import PixelClassifier
from smoothify.training.config import AveragingConfig


class Averaging(nn.Module):
    """A second classifier whose weights are an average of the first one's. Its state dict is its whole state.

    The moving average (timm's ``ModelEmaV3``) averages batch statistics as it averages weights. The mean over epochs
    (Izmailov et al., arXiv:1803.05407; torch's ``AveragedModel``) measures them anew, as their authors do, on images
    attacked as training attacks them.

    Args:
        config: which average.
        classifier: whose weights; on its device, not wrapped.

    >>> from smoothify.models import build
    >>> classifier = PixelClassifier.from_host(build("resnet10_28px"))
    >>> averaging = Averaging(AveragingConfig("ema", decay=0.9), classifier)
    >>> averaging.after_step(0)
    >>> averaging.classifier is classifier
    False
    """

    average: nn.Module

    def __init__(self, config: AveragingConfig, classifier: PixelClassifier) -> None:
        from timm.utils import ModelEmaV3

        super().__init__()
        self.config = config
        self._source = (classifier,)  # in a tuple, so that it is no part of this module's state
        if config.kind == "ema":
            self.average = ModelEmaV3(classifier, decay=config.decay, use_warmup=True)
        else:
            self.average = AveragedModel(classifier)
        self.classifier.eval().requires_grad_(False)

    @property
    def classifier(self) -> PixelClassifier:
        """The classifier with averaged weights."""
        classifier = self.average.module
        assert isinstance(classifier, PixelClassifier)
        return classifier

    def after_step(self, step: int) -> None:
        """Take the weights after a step, counted from 0, into the moving average."""
        if self.config.kind == "ema":
            self.average.update(self._source[0], step=step + 1)  # type: ignore[operator]  # ModelEmaV3's method

    def after_epoch(self, epoch: int, attacked: Iterable[Tensor]) -> None:
        """Take the weights after an epoch, counted from 0, into the mean, and measure its batch statistics.

        ``attacked`` yields attacked training images (batch, channels, height, width); read no further than needed.
        """
        if not isinstance(self.average, AveragedModel):
            return
        if epoch + 1 < self.config.start or int(self.average.n_averaged) == 0:
            self.classifier.load_state_dict(self._source[0].state_dict())
            self.average.n_averaged.fill_(epoch + 1 >= self.config.start)
            return
        self.average.update_parameters(self._source[0])
        update_bn(self._enough(attacked), self.classifier)
        self.classifier.eval()

    def _enough(self, batches: Iterable[Tensor]) -> Iterable[Tensor]:
        images = 0
        for batch in batches:
            yield batch
            images += len(batch)
            if images >= self.config.batch_norm_images:
                return
