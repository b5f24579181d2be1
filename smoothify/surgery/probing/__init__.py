"""Running a model to see what it does: over fake tensors, each operation at dispatch level; nothing is left behind."""
