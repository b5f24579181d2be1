"""The rows that do not hold, one by one, with the reason. At most five."""

TOLERATED: dict[str, str] = {}
