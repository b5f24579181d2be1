"""Make every activation of a vision model smooth, train it adversarially, measure it, publish it."""

__version__ = "0.1.0"
