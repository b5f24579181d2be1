"""Rewriting the calls inside a method: by torch.fx graph, else by source, else while it runs."""
