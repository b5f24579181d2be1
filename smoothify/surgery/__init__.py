"""Finding every activation of a model and making it smooth: find, plan, apply, verify."""

from smoothify.surgery import hosts
from smoothify.surgery.conversions import conversions
from smoothify.surgery.convert import convert, convert_, inspect
from smoothify.surgery.kinks import Kink, find_kink
from smoothify.surgery.recalibrate import recalibrate_batch_norm_
from smoothify.surgery.replay import replay_
from smoothify.surgery.report import Report
from smoothify.surgery.rules.base import Rule, Target, register_rule, unregister_rule
from smoothify.surgery.rules.rulebook import TORCH
from smoothify.surgery.sites import Found, Operation, Site

__all__ = [
    "Found",
    "Kink",
    "Operation",
    "Report",
    "Rule",
    "Site",
    "Target",
    "conversions",
    "convert",
    "convert_",
    "find_kink",
    "inspect",
    "recalibrate_batch_norm_",
    "register_rule",
    "replay_",
    "unregister_rule",
]

for _rule in TORCH:
    register_rule(_rule)
hosts.register()
