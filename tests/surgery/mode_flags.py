"""A module of settings that a model's own code imports."""

DOUBLED = False


class Settings:
    """The same, as a class that is never made."""

    doubled = False
