"""The table of the catalogue. Where torch has the fastest exact kernel, the entry is torch's own module."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smoothify.activations import functional, learned, modules
from smoothify.activations.catalogue import Activation, Reader, register_activation


def _constant(**parameters: float) -> Reader:
    return lambda module: parameters


def _attributes(*names: str) -> Reader:
    return lambda module: {name: float(getattr(module, name)) for name in names}


def _initial(module: Any) -> Mapping[str, float]:
    values: Mapping[str, float] = module.initial
    return values


def _softplus(module: nn.Softplus) -> Mapping[str, float] | None:
    # torch's threshold replaces the function by its asymptote; at 20 they agree to float32's precision.
    return {} if (module.beta, module.threshold) == (1, 20) else None


def _softplus_alpha(module: nn.Softplus) -> Mapping[str, float] | None:
    return {"alpha": float(module.beta)} if module.threshold == 20 and module.beta > 0 else None


def _gelu(approximate: str) -> Reader:
    return lambda module: {} if module.approximate == approximate else None


def _gelu_tanh_module() -> nn.Module:
    return nn.GELU(approximate="tanh")


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _elu_order(alpha: float) -> float:
    return 1 if alpha == 1 else 0


def _celu_order(alpha: float) -> float:
    return 1 if alpha else 0  # torch refuses to divide by it, at the first call


ENTRIES: tuple[Activation, ...] = (
    Activation(
        "relu", "max(x, 0)", "Nair and Hinton, ICML 2010 (ref. 41)",
        nn.ReLU, F.relu, 0, inplace=True, readers={nn.ReLU: _constant()}, keeps="output",
    ),
    Activation(
        "softplus", "log(1 + e^x)", "Nair and Hinton, ICML 2010 (ref. 41); paper §4.1",
        nn.Softplus, F.softplus, math.inf, readers={nn.Softplus: _softplus},
    ),
    Activation(
        "parametric_softplus", "log(1 + e^(αx)) / α", "paper eq. 2",
        modules.ParametricSoftplus, functional.parametric_softplus, math.inf, {"alpha": 10.0},
        readers={modules.ParametricSoftplus: _attributes("alpha"), nn.Softplus: _softplus_alpha},
        sharpness="alpha",
    ),
    Activation(
        "silu", "x σ(x)", "Elfwing et al. 2018, Hendrycks and Gimpel 2016 (refs. 16, 24); paper §4.1",
        nn.SiLU, F.silu, math.inf, inplace=True, readers={nn.SiLU: _constant()},
    ),
    Activation(
        "swish", "x σ(βx)", "Ramachandran et al. 2017 (ref. 51)",
        modules.Swish, functional.swish, math.inf, {"beta": 1.0}, sharpness="beta",
    ),
    Activation(
        "gelu", "x Φ(x)", "Hendrycks and Gimpel 2016 (ref. 24)",
        nn.GELU, F.gelu, math.inf, readers={nn.GELU: _gelu("none")},
    ),
    Activation(
        "gelu_tanh", "x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2", "Hendrycks and Gimpel 2016 (ref. 24)",
        _gelu_tanh_module, _gelu_tanh, math.inf, readers={nn.GELU: _gelu("tanh")},
    ),
    Activation(
        "quick_gelu", "x σ(1.702x)", "Hendrycks and Gimpel 2016 (ref. 24)",
        modules.QuickGELU, functional.quick_gelu, math.inf,
    ),
    Activation(
        "elu", "x for x ≥ 0, else α(e^x - 1)", "Clevert et al., ICLR 2016 (ref. 9); paper eq. 4",
        nn.ELU, F.elu, _elu_order, {"alpha": 1.0}, inplace=True, readers={nn.ELU: _attributes("alpha")},
    ),
    Activation(
        "celu", "x for x ≥ 0, else α(e^(x/α) - 1)", "Barron 2017 (ref. 3); paper eq. 8",
        nn.CELU, F.celu, _celu_order, {"alpha": 1.0}, inplace=True, readers={nn.CELU: _attributes("alpha")},
    ),
    Activation(
        "smoothrelu", "x - log(αx + 1) / α for x ≥ 0, else 0", "paper eq. 5",
        learned.SmoothReLU, functional.smoothrelu, 1, {"alpha": 400.0}, learnable=True,
        readers={learned.SmoothReLU: _initial},
    ),
    Activation(
        "mish", "x tanh(log(1 + e^x))", "Misra 2019 (ref. 40)",
        modules.Mish, functional.mish, math.inf,
        readers={modules.Mish: _constant(), nn.Mish: _constant()},
    ),
    Activation(
        "tanhexp", "x tanh(e^x)", "Liu and Di 2020, arXiv:2003.09855",
        modules.TanhExp, functional.tanhexp, math.inf,
    ),
    Activation(
        "tanhsoft_1", "tanh(αx) log(1 + e^x)", "Biswas et al. 2020 (ref. 5)",
        modules.TanhSoft1, functional.tanhsoft_1, math.inf, {"alpha": 0.87},
    ),
    Activation(
        "tanhsoft_2", "x tanh(βe^(γx))", "Biswas et al. 2020 (ref. 5)",
        modules.TanhSoft2, functional.tanhsoft_2, math.inf, {"beta": 0.6, "gamma": 1.0},
    ),
    Activation(
        "tanhsoft_3", "log(1 + e^x tanh(αx))", "Biswas et al. 2020 (ref. 5)",
        modules.TanhSoft3, functional.tanhsoft_3, math.inf, {"alpha": 0.85},
    ),
    Activation(
        "hermite", "Σ aₙ hₙ(x) over normalised Hermite polynomials", "Lokhande et al., CVPR 2020 (ref. 35)",
        learned.Hermite, functional.hermite, math.inf, {"terms": 4.0}, learnable=True,
        readers={learned.Hermite: _initial},
    ),
    Activation(
        "smelu", "0 for x ≤ -β, (x + β)² / 4β for |x| ≤ β, x for x ≥ β", "Shamir et al. 2020 (ref. 57)",
        modules.SmeLU, functional.smelu, 1, {"beta": 1.0}, keeps="output",
    ),
    Activation(
        "squareplus", "(x + √(x² + b)) / 2", "Barron 2021, arXiv:2112.11687",
        modules.Squareplus, functional.squareplus, math.inf, {"b": 4.0}, keeps="output",
    ),
    Activation(
        "serf", "x erf(log(1 + e^x))", "Nag and Bhattacharyya 2021, arXiv:2108.09598",
        modules.Serf, functional.serf, math.inf,
    ),
    Activation(
        "logish", "x log(1 + σ(x))", "Zhu et al., Neurocomputing 2021",
        modules.Logish, functional.logish, math.inf,
    ),
    Activation(
        "pssilu", "x (σ(αx) - β) / (1 - β)", "Dai, Mahloujifar and Mittal 2021, arXiv:2110.05626",
        learned.PSSiLU, functional.pssilu, math.inf, {"alpha": 1.0, "beta": 0.0}, learnable=True,
        readers={learned.PSSiLU: _initial},
    ),
    Activation(
        "sigmoid", "σ(x) = 1 / (1 + e^(-x))", "the logistic function",
        nn.Sigmoid, torch.sigmoid, math.inf, readers={nn.Sigmoid: _constant()}, keeps="output",
    ),
    Activation(
        "tanh", "tanh(x)", "the hyperbolic tangent",
        nn.Tanh, torch.tanh, math.inf, readers={nn.Tanh: _constant()}, keeps="output",
    ),
)  # fmt: skip

for _entry in ENTRIES:
    register_activation(_entry)
