"""Recognising activations without running the model: modules, calls, attributes, nodes of a graph."""
