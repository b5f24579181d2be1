"""Calling a library's constructor so that whatever it refuses comes back as one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from smoothify.errors import ConfigError


def construct(constructor: Callable[..., Any], name: str, arguments: Mapping[str, Any], **fixed: Any) -> nn.Module:
    """Call a constructor with the user's arguments and those that are ours.

    Raises:
        ConfigError: it refuses them, or its published weights cannot be had; the message has the first of its reasons.
    """
    try:
        model: nn.Module = constructor(name, **fixed, **arguments)
    except OSError as error:
        raise ConfigError(
            f"the published weights of {name!r} cannot be had ({_reason(error).rstrip('.')}); load them once with a "
            "connection, or do without (model.pretrained)"
        ) from error
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ConfigError(f"architecture {name!r} cannot be built with {dict(arguments)}: {_reason(error)}") from error
    return model


def _reason(error: BaseException) -> str:
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return f"{lines[0]} {lines[1].strip()}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
