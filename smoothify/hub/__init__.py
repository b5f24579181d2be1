"""Publishing models and loading them: the Hub's format, proven at export, checked at import."""

from smoothify.hub.card import CardFacts
from smoothify.hub.extra import read_file, weights_digest
from smoothify.hub.load import from_pretrained
from smoothify.hub.push import push_to_hub
from smoothify.hub.remote import check_repo_id, push_folder
from smoothify.hub.results import Evaluation, Result, read_evaluation
from smoothify.hub.save import save_pretrained

__all__ = [
    "CardFacts",
    "Evaluation",
    "Result",
    "check_repo_id",
    "from_pretrained",
    "push_folder",
    "push_to_hub",
    "read_evaluation",
    "read_file",
    "save_pretrained",
    "weights_digest",
]
