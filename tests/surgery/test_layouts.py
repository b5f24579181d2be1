"""Sparse and nested tensors, which lie in no memory of their own, on the way from the input to the result."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import smoothify

from .awkward import Plain

X = torch.linspace(-2, 2, 24).reshape(4, 6)
ADJACENCY = torch.eye(4) + torch.eye(4).roll(1, 0)


class WithBuffer(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("adjacency", ADJACENCY.to_sparse())

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(torch.sparse.mm(self.adjacency, self.linear(x)))


class WithArgument(Plain):
    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return F.relu(torch.sparse.mm(adjacency, self.linear(x)))


class MadeOfTheInput(Plain):
    """The sparse tensor depends on the input: what is clamped of it is an activation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).to_sparse().coalesce().to_dense().clamp(min=0)


SPARSE: dict[str, tuple[type[nn.Module], Callable[[], tuple[Tensor, ...]]]] = {
    "a buffer": (WithBuffer, lambda: (X,)),
    "coordinates": (WithArgument, lambda: (X, ADJACENCY.to_sparse())),
    "rows": (WithArgument, lambda: (X, ADJACENCY.to_sparse_csr())),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("case", SPARSE)
def test_a_graph_network_with_a_sparse_adjacency_is_converted(case: str) -> None:
    cls, made = SPARSE[case]
    model, example = cls(), made()
    report = smoothify.convert_(model, example_input=example)
    assert [(site.function, site.becomes) for site in report.sites] == [("relu", "silu")] and report.verified
    torch.testing.assert_close(model(*example), F.silu(ADJACENCY @ model.linear(X)))


def test_the_input_is_followed_through_a_sparse_tensor() -> None:
    report = smoothify.convert_(MadeOfTheInput(), example_input=X)
    assert [site.function for site in report.converted] == ["clamp(min=0)"]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:enable_nested_tensor is True")
def test_an_encoder_that_leaves_the_padding_out_is_converted() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    example = {"src": torch.randn(2, 5, 8), "src_key_padding_mask": mask}
    remaining = {site.kind for site in smoothify.inspect(model, example_input=example).remaining}
    assert remaining == {"attribute", "call", "fused"}
    report = smoothify.convert_(model, example_input=example)
    assert report.smooth and {site.function for site in report.converted} == {"relu"}
    with torch.no_grad():
        assert model.eval()(**example).shape == (2, 5, 8)
