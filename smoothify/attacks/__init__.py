"""The inner maximisation: adversaries that move images inside a threat model."""

from smoothify.attacks.base import Attack, inference_mode_of
from smoothify.attacks.names import attack
from smoothify.attacks.noise import Randomness, SampleNoise, sample_keys
from smoothify.attacks.norms import L2, NORMS, Linf, Norm
from smoothify.attacks.pgd import PGD
from smoothify.attacks.threat import ThreatModel, parse_epsilon, show

__all__ = [
    "L2",
    "NORMS",
    "PGD",
    "Attack",
    "Linf",
    "Norm",
    "Randomness",
    "SampleNoise",
    "ThreatModel",
    "attack",
    "inference_mode_of",
    "parse_epsilon",
    "sample_keys",
    "show",
]
