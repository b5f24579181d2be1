"""The mathematics: each activation as its value and its derivatives, written so that nothing cancels.

Every function takes float32 or float64 tensors, scalar or broadcasting parameters, and is made of plain
differentiable operations, none of which divides by zero, overflows into ``inf - inf`` or branches on data
(``torch.where`` is the slow part on a CPU; clamps are not). The same text runs eagerly, in blocks, compiled,
traced and differentiated again. ``*_value`` is y(x); ``*_slope`` is dy/dx, of whichever tensor the kernel
keeps; ``*_partials`` are dy/dp for each parameter p.
"""

from torch import Tensor

Number = Tensor | float
