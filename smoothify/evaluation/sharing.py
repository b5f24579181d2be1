"""How many images are attacked at a time when several processes share them."""

from __future__ import annotations

from smoothify.attacks import Attack

_USUAL = 250  # images; `robust_accuracy`'s own


def shared_batch_size(attack: Attack, images: int, processes: int) -> int:
    """Return the usual batch size, or as much less as leaves no process without images.

    An attack that does not go image by image keeps the usual one: its figures are not to depend on how many processes
    there are.

    >>> from smoothify.attacks import PGD, AutoAttack
    >>> shared_batch_size(PGD(), 500, 8), shared_batch_size(PGD(), 500, 1), shared_batch_size(AutoAttack(), 500, 8)
    (63, 250, 250)
    """
    return min(_USUAL, -(-images // processes)) if attack.image_by_image else _USUAL
