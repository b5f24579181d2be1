"""Make every activation of a vision model smooth, train it adversarially, measure it, publish it."""

from smoothify.hub import from_pretrained, push_to_hub, save_pretrained
from smoothify.surgery import Report, Rule, Site, convert, convert_, inspect, register_rule

__version__ = "0.1.0"

__all__ = [
    "Report",
    "Rule",
    "Site",
    "convert",
    "convert_",
    "from_pretrained",
    "inspect",
    "push_to_hub",
    "register_rule",
    "save_pretrained",
]
