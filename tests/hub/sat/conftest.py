"""tensorflow_side.py imports TensorFlow, which is not installed everywhere; a test runs it as a program."""

collect_ignore = ["tensorflow_side.py"]
