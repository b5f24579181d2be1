"""Learned polynomials in the normalised Hermite basis (ref. 35)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smoothify.activations.formulas import Number


def hermite_partials(x: Tensor, *coefficients: Number) -> tuple[Tensor, ...]:
    """∂/∂aₙ = hₙ(x): the normalised (probabilists') Hermite polynomials, by their recurrence."""
    basis = [torch.ones_like(x), x]
    for n in range(1, len(coefficients) - 1):
        basis.append((x * basis[n] - math.sqrt(n) * basis[n - 1]) / math.sqrt(n + 1))
    return tuple(basis[: len(coefficients)])


def hermite_value(x: Tensor, *coefficients: Number) -> Tensor:
    """Σ aₙ hₙ(x)."""
    total = torch.zeros_like(x)
    for coefficient, polynomial in zip(coefficients, hermite_partials(x, *coefficients), strict=True):
        total = total + coefficient * polynomial
    return total


def hermite_slope(x: Tensor, *coefficients: Number) -> Tensor:
    """Σ aₙ √n hₙ₋₁(x)."""
    total = torch.zeros_like(x)
    basis = hermite_partials(x, *coefficients)
    for n in range(1, len(coefficients)):
        total = total + (coefficients[n] * math.sqrt(n)) * basis[n - 1]
    return total


def relu_coefficients(count: int) -> list[float]:
    """The first ``count`` coefficients of ReLU in the normalised Hermite basis.

    >>> [round(coefficient, 4) for coefficient in relu_coefficients(5)]
    [0.3989, 0.5, 0.2821, 0.0, -0.0814]
    """
    coefficients = [1 / math.sqrt(2 * math.pi), 0.5]
    for n in range(2, count):
        double_factorial = math.prod(range(n - 3, 0, -2))
        sign = (1 if n // 2 % 2 else -1) if n % 2 == 0 else 0
        coefficients.append(sign * double_factorial / math.sqrt(2 * math.pi * math.factorial(n)))
    return coefficients[:count]
