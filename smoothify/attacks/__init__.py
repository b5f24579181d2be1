"""The inner maximisation: adversaries that move images inside a threat model."""

from smoothify.attacks.autoattack import AutoAttack, AutoAttackPart
from smoothify.attacks.base import Attack, Found
from smoothify.attacks.ensemble import Ensemble, restarts
from smoothify.attacks.mode import forget_caches, inference_mode_of
from smoothify.attacks.names import attack, register_attack
from smoothify.attacks.noise import Randomness, SampleNoise, sample_keys
from smoothify.attacks.norms import L2, NORMS, Linf, Norm
from smoothify.attacks.pgd import PGD
from smoothify.attacks.single_step import NoiseFGSM, fgsm_rs
from smoothify.attacks.threat import ThreatModel, parse_epsilon
from smoothify.protocol import show

__all__ = [
    "L2",
    "NORMS",
    "PGD",
    "Attack",
    "AutoAttack",
    "AutoAttackPart",
    "Ensemble",
    "Found",
    "Linf",
    "NoiseFGSM",
    "Norm",
    "Randomness",
    "SampleNoise",
    "ThreatModel",
    "attack",
    "fgsm_rs",
    "forget_caches",
    "inference_mode_of",
    "parse_epsilon",
    "register_attack",
    "restarts",
    "sample_keys",
    "show",
]
