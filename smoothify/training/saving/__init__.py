"""What a run leaves: its folder, checkpoints, record, settings, pictures, and models in Hub format."""
