"""Publishing models and loading them: the Hub's format, proven at export, checked at import."""

from smoothify.hub.card import CardFacts, Result
from smoothify.hub.extra import read_file
from smoothify.hub.load import from_pretrained
from smoothify.hub.push import push_to_hub
from smoothify.hub.remote import check_repo_id, push_folder
from smoothify.hub.save import save_pretrained

__all__ = [
    "CardFacts",
    "Result",
    "check_repo_id",
    "from_pretrained",
    "push_folder",
    "push_to_hub",
    "read_file",
    "save_pretrained",
]
