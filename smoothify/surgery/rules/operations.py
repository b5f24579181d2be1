"""What is known about torch's operations: smooth, an activation, non-smooth, or nothing.

The names are those of the dispatcher (``aten::``), where no Python trick hides a kernel; a trailing
underscore (in place) is left off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from smoothify.surgery.rules.counterparts import is_rectifying_clamp
from smoothify.surgery.sites import Found


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Operations that are C1 in every floating-point argument where they are defined (√x and ‖x‖ away from 0).
SMOOTH: frozenset[str] = _words(
    """
    view _unsafe_view reshape _reshape_alias t transpose permute expand expand_as slice select split
    split_with_sizes split_copy chunk unbind cat stack squeeze unsqueeze alias detach clone contiguous
    _to_copy to copy lift_fresh flatten unflatten unfold as_strided roll flip repeat tile index_select
    gather narrow pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle diagonal diag_embed
    diag movedim rot90 constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d
    replication_pad1d replication_pad2d replication_pad3d pad im2col col2im empty_like zeros_like
    ones_like full_like rand_like randn_like new_empty new_zeros new_ones new_full new_empty_strided
    bernoulli native_dropout dropout uniform normal random exponential fill zero scatter scatter_add
    scatter_reduce index_put _index_put_impl index index_add index_copy index_fill masked_fill
    masked_scatter where tril triu repeat_interleave view_as_complex view_as_real _view_as_complex
    _view_as_real real imag complex polar conj _conj resolve_conj resolve_neg view_as set_ meshgrid
    block_diag _pin_memory _fft_r2c _fft_c2r _fft_c2c fft_rfft2 fft_irfft2 add sub rsub mul div
    true_divide neg positive addcmul addcdiv reciprocal pow float_power square sqrt rsqrt exp exp2 expm1
    log log1p log2 log10 sin cos tan asin acos atan atan2 sinh cosh asinh acosh atanh tanh sigmoid erf
    erfc erfinv logit softplus silu gelu mish celu log_sigmoid_forward glu softmax _softmax _safe_softmax
    log_softmax _log_softmax logsumexp lerp xlogy special_xlog1py nan_to_num special_expit special_ndtr
    lgamma digamma mm bmm addmm baddbmm addbmm addmv addr mv dot vdot matmul linear convolution
    _convolution conv1d conv2d conv3d conv_transpose2d convolution_overrideable mkldnn_convolution einsum
    _trilinear bilinear kron outer tensordot linalg_matmul linalg_inv_ex linalg_solve_ex _linalg_det
    _linalg_slogdet linalg_cross cross _linalg_check_errors avg_pool1d avg_pool2d avg_pool3d
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d
    mean sum nansum var var_mean std std_mean cumsum logcumsumexp cumprod prod trace upsample_nearest1d
    upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d upsample_bilinear2d upsample_bicubic2d
    upsample_trilinear3d upsample_linear1d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
    native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_functional
    _native_batch_norm_legit_no_training _batch_norm_with_update _batch_norm_no_update
    _batch_norm_with_update_functional cudnn_batch_norm batch_norm native_layer_norm layer_norm
    native_group_norm group_norm rms_norm _fused_rms_norm instance_norm linalg_vector_norm norm
    frobenius_norm cosine_similarity embedding _scaled_dot_product_flash_attention_for_cpu
    _scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention
    _scaled_dot_product_attention_math _scaled_dot_product_cudnn_attention
    _scaled_dot_product_fused_attention_overrideable scaled_dot_product_attention
    _native_multi_head_attention smooth_l1_loss huber_loss mse_loss nll_loss nll_loss_forward
    nll_loss2d_forward binary_cross_entropy binary_cross_entropy_with_logits kl_div cross_entropy_loss
    lstm mkldnn_rnn_layer _thnn_fused_lstm_cell _thnn_fused_gru_cell rnn_tanh gru _unsafe_index
    _unsafe_masked_index is_same_size sym_size
    sym_stride sym_numel sym_storage_offset size stride is_nonzero device layout dtype
    _assert_tensor_metadata _has_compatible_shallow_copy_type record_stream result_type is_pinned
    is_complex is_floating_point resize _resize_output unsafe_split unsafe_chunk unsafe_split_with_sizes
    hann_window stft istft _cdist_forward _nested_tensor_from_mask _nested_tensor_from_mask_left_aligned
    nested_to_padded_tensor to_padded_tensor _sparse_addmm _sparse_mm coalesce _coalesce is_coalesced to_dense
    _to_dense values _values indices _indices sparse_dim dense_dim _nnz
    """
)


def _is_continuous(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


def _between(power: Any) -> bool:
    return power is None or 1 < float(power) < float("inf")


Condition = Callable[[Mapping[str, Any]], bool]


def _keeps_fractions(given: Mapping[str, Any]) -> bool:
    dtype = given.get("dtype") or getattr(given.get("out"), "dtype", None)
    return dtype is None or _is_continuous(dtype)


def _writes_fractions(given: Mapping[str, Any]) -> bool:
    return _is_continuous(given["self"].dtype)


def _reads_the_same_numbers(given: Mapping[str, Any]) -> bool:
    return given.get("dtype") is None or given["dtype"].to_real() == given["self"].dtype.to_real()


def _takes_no_extreme(given: Mapping[str, Any]) -> bool:
    return given.get("reduce") not in ("amax", "amin")


# Those of them that are so for some arguments only.
CONDITIONS: dict[str, Condition] = {
    **dict.fromkeys(_words("sum nansum prod cumsum cumprod _to_copy to_dense _to_dense"), _keeps_fractions),
    **dict.fromkeys(_words("copy fill masked_fill index_fill"), _writes_fractions),
    **dict.fromkeys(_words("scatter_reduce _sparse_mm"), _takes_no_extreme),
    "view": _reads_the_same_numbers,
    "div": lambda given: given.get("rounding_mode") is None,
    # Drawn with a probability that is a tensor, it is 0 or 1 by that tensor's values.
    "bernoulli": lambda given: not isinstance(given.get("p", given["self"]), torch.Tensor),
    "smooth_l1_loss": lambda given: given.get("beta", 1) > 0,
    "linalg_vector_norm": lambda given: _between(given.get("ord", 2)),
    "norm": lambda given: _between(given.get("p", 2)),
    "_cdist_forward": lambda given: _between(given["p"]),
    "logit": lambda given: given.get("eps") is None,
}


def is_smooth_operation(name: str, given: Mapping[str, Any]) -> bool:
    """Whether an operation is known to be smooth with these arguments.

    >>> is_smooth_operation("norm", {"p": 2}), is_smooth_operation("norm", {"p": 1})
    (True, False)
    """
    return name in SMOOTH and (name not in CONDITIONS or CONDITIONS[name](given))


NONSMOOTH: frozenset[str] = _words(
    """
    max_pool1d max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d_with_indices
    mkldnn_max_pool2d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d
    max min amax amin aminmax maximum minimum fmax fmin clamp clamp_min clamp_max clip abs sign sgn round
    floor ceil trunc frac fmod remainder floor_divide sort topk argmax argmin argsort median nanmedian
    kthvalue mode msort cummax cummin heaviside unique_dim _unique2 unique_consecutive
    hinge_embedding_loss l1_loss margin_ranking_loss grid_sampler_2d grid_sampler_3d histc bincount
    searchsorted bucketize rnn_relu _cdist relu_backward
    """
)

# Smooth in their first argument; piecewise linear in the sampling positions, which are the second.
SAMPLERS: frozenset[str] = frozenset({"grid_sampler_2d", "grid_sampler_3d"})

Reader = Callable[[Mapping[str, Any]], Found]


def _plain(function: str) -> Reader:
    return lambda given: Found(function)


def _hardtanh(given: Mapping[str, Any]) -> Found:
    low, high = given.get("min_val", -1), given.get("max_val", 1)
    if (low, high) == (0, 6):
        return Found("relu6")
    return Found("hardtanh", {"min_val": low, "max_val": high})


def _elu(given: Mapping[str, Any]) -> Found:
    if given.get("scale", 1) != 1:
        return Found("selu")
    return Found("elu", {"alpha": float(given.get("alpha", 1))})


def _rrelu(given: Mapping[str, Any]) -> Found:
    lower, upper = given.get("lower", 1 / 8), given.get("upper", 1 / 3)
    if not given.get("training", False):
        return Found("leaky_relu", {"negative_slope": (lower + upper) / 2})
    return Found("rrelu", {"lower": lower, "upper": upper})


ACTIVATIONS: dict[str, Reader] = {
    "relu": _plain("relu"),
    "relu6": _plain("relu6"),
    "hardtanh": _hardtanh,
    "clamp": lambda given: Found("clamp", {"min": given.get("min"), "max": given.get("max")}),
    "clamp_min": lambda given: Found("clamp", {"min": given.get("min"), "max": None}),
    "threshold": lambda given: Found("threshold", {"threshold": given["threshold"], "value": given["value"]}),
    "leaky_relu": lambda given: Found("leaky_relu", {"negative_slope": given.get("negative_slope", 0.01)}),
    "_prelu_kernel": _plain("prelu"),
    "rrelu_with_noise": _rrelu,
    "elu": _elu,
    "celu": lambda given: Found("celu", {"alpha": float(given.get("alpha", 1))}),
    "hardswish": _plain("hardswish"),
    "hardsigmoid": _plain("hardsigmoid"),
    "hardshrink": lambda given: Found("hardshrink", {"lambd": given.get("lambd", 0.5)}),
    "softshrink": lambda given: Found("softshrink", {"lambd": given.get("lambd", 0.5)}),
    "silu": _plain("silu"),
    "mish": _plain("mish"),
    "gelu": lambda given: Found("gelu", {"approximate": given.get("approximate", "none")}),
    "softplus": lambda given: Found(
        "softplus", {"beta": given.get("beta", 1.0), "threshold": given.get("threshold", 20.0)}
    ),
}


def activation(name: str, given: Mapping[str, Any]) -> Found | None:
    """Return the activation that an operation is, by its arguments; None for every other operation.

    >>> activation("clamp", {"min": 0}).function, activation("clamp", {"min": 1e-6})
    ('clamp', None)
    """
    reader = ACTIVATIONS.get(name)
    found = reader(given) if reader else None
    return None if found and found.function == "clamp" and not is_rectifying_clamp(found) else found


ANYWHERE = _words(
    "relu relu6 hardtanh leaky_relu _prelu_kernel rrelu_with_noise elu celu hardswish hardsigmoid threshold"
)
"""Activations that count wherever they stand, on constant tables too."""

FACTORIES = _words(
    "new_empty new_zeros new_ones new_full new_empty_strided empty_like zeros_like ones_like full_like "
    "rand_like randn_like randint_like"
)
"""What takes only shape, dtype and device from a tensor: the result does not depend on its values."""

SMOOTH_ACTIVATIONS = _words("silu gelu mish celu softplus")

CLAMPS = _words("clamp clamp_min maximum fmax")
"""What is an activation or none, by what it is taken of."""

INCIDENTAL = _words(
    "view _unsafe_view reshape _reshape_alias t transpose permute expand slice select squeeze unsqueeze "
    "alias detach clone lift_fresh empty_like"
)
"""What comes and goes with the strides of a tensor: not compared between the runs before and after."""

ARITHMETIC = _words("clamp clamp_min maximum mul add sub div")
"""What a rewritten call may be made of: not compared where calls were rewritten."""
