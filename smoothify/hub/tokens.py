"""Hub tokens: they never reach an error, a card, a config or a repository."""

from __future__ import annotations

import re

import huggingface_hub

from smoothify.errors import HubError

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{30,}|\bhf_(?:oauth|jwt)_[\w.\-]{20,}")
_HIDDEN = "hf_***"


def without_tokens(text: str, token: str | None = None) -> str:
    """Return ``text`` with anything that looks like a Hub token, and ``token`` itself, blotted out.

    >>> without_tokens("Bearer hf_abcdefghijklmnopqrstuvwxyz12345678")
    'Bearer hf_***'
    >>> without_tokens("load it with hf_hub_download; hf_transfer is faster")
    'load it with hf_hub_download; hf_transfer is faster'
    """
    for known in (token, huggingface_hub.get_token()):
        if known:
            text = text.replace(known, _HIDDEN)
    return _TOKEN.sub(_HIDDEN, text)


def refuse_tokens(text: str, source: str) -> None:
    """Raise ``HubError`` if ``text``, which is about to be written or published, holds a token.

    >>> refuse_tokens("token: hf_abcdefghijklmnopqrstuvwxyz12345678", "README.md")
    Traceback (most recent call last):
    ...
    smoothify.errors.HubError: README.md: holds what looks like a Hub token; remove it before publishing
    """
    if without_tokens(text) != text:
        raise HubError(f"{source}: holds what looks like a Hub token; remove it before publishing")
