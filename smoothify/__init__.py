"""Make every activation of a vision model smooth, train it adversarially, measure it, publish it."""

from smoothify.surgery import Report, Rule, Site, convert, convert_, find_kink, inspect, register_rule

__version__ = "0.1.0"

__all__ = ["Report", "Rule", "Site", "convert", "convert_", "find_kink", "inspect", "register_rule"]
