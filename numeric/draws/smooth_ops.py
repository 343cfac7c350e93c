"""What is known of the operations of torch as functions of real numbers: smooth, continuous with kinks, or unknown.

The lists say what is known to be smooth, not what is known to jump: an operation that stands in neither may decide something.
"""

from __future__ import annotations

from functools import cache

from numeric.draws.random_ops import Call

_MOVES = """
alias as_strided as_strided_scatter atleast_1d atleast_2d atleast_3d block_diag broadcast_to cat channel_shuffle chunk clone
col2im column_stack concat concatenate constant_pad_nd contiguous copy detach diag diag_embed diagonal diagonal_backward
diagonal_scatter empty_like expand expand_as fill flatten flip full_like gather gather_backward hstack im2col imag index
index_add index_copy index_fill index_put index_select index_select_backward lift lift_fresh masked_fill masked_scatter
masked_select masked_select_backward movedim narrow new_empty new_empty_strided new_full new_ones new_zeros ones_like permute
pixel_shuffle pixel_unshuffle put ravel real reflection_pad1d reflection_pad1d_backward reflection_pad2d
reflection_pad2d_backward repeat repeat_interleave replication_pad1d replication_pad1d_backward replication_pad2d
replication_pad2d_backward reshape resize resolve_conj resolve_neg roll rot90 scatter scatter_add select select_backward
select_scatter set slice slice_backward slice_scatter split split_with_sizes squeeze stack t take to transpose tril triu unbind
unflatten unfold unfold_backward unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze value_selecting_reduction_backward
view view_as view_as_complex view_as_real vstack where zero zeros_like _conj _index_put_impl _neg_view _reshape_alias _stack
_to_copy _unsafe_index _unsafe_index_put _unsafe_view is_same_size _has_compatible_shallow_copy_type _lazy_clone
"""

_ARITHMETIC = """
add addbmm addcdiv addcmul addmm addmv addr baddbmm bilinear bmm conj conj_physical convolution convolution_backward
_convolution cross cumprod cumsum deg2rad div dot einsum embedding embedding_dense_backward inner kron lerp linalg_cross
linalg_vecdot linear linear_backward logcumsumexp logsumexp matmul mean mm mul mv nansum neg outer pow positive prod rad2deg
reciprocal rsqrt rsub sqrt square sub sum trace _trilinear true_divide var vdot
"""

_FUNCTIONS = """
acos acosh asin asinh atan atanh cos cosh digamma erf erfc erfinv exp exp2 expm1 gelu gelu_backward
infinitely_differentiable_gelu_backward glu glu_backward i0 igamma igammac lgamma log log10 log1p log2 log_sigmoid
log_sigmoid_backward log_sigmoid_forward logaddexp logaddexp2 logit logit_backward mish mish_backward mvlgamma polygamma sigmoid
sigmoid_backward silu silu_backward sin sinc sinh softplus softplus_backward special_entr special_erfcx special_i0e special_i1
special_i1e special_log_ndtr special_ndtri special_xlog1py special_zeta tan tanh tanh_backward xlogy _dirichlet_grad
_log_softmax _log_softmax_backward_data _safe_softmax _softmax _softmax_backward_data _standard_gamma_grad
"""

_MATRICES = """
cholesky cholesky_inverse cholesky_solve linalg_cholesky_ex linalg_inv_ex linalg_lu_solve linalg_matrix_exp
linalg_solve_triangular matrix_exp triangular_solve _linalg_check_errors _linalg_det _linalg_slogdet _linalg_solve_ex
"""

_LAYERS = """
avg_pool2d avg_pool2d_backward avg_pool3d avg_pool3d_backward _adaptive_avg_pool2d _adaptive_avg_pool2d_backward
binary_cross_entropy binary_cross_entropy_backward binary_cross_entropy_with_logits mse_loss mse_loss_backward native_batch_norm
native_batch_norm_backward native_group_norm native_group_norm_backward native_layer_norm native_layer_norm_backward
nll_loss_backward nll_loss_forward nll_loss2d_backward nll_loss2d_forward upsample_bilinear2d upsample_bilinear2d_backward
upsample_nearest2d upsample_nearest2d_backward _native_batch_norm_legit _native_batch_norm_legit_functional _thnn_fused_gru_cell
_thnn_fused_lstm_cell _weight_norm_interface _weight_norm_interface_backward native_dropout_backward
_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention_for_cpu_backward
"""

SMOOTH: frozenset[str] = frozenset(" ".join((_MOVES, _ARITHMETIC, _FUNCTIONS, _MATRICES, _LAYERS)).split())
"""Analytic where they are defined: what they give at a few values of noise, they give between them."""

KINKED: frozenset[str] = frozenset(
    """
    abs amax amin celu clamp clamp_max clamp_min dist elu elu_backward fmax fmin hardsigmoid hardswish hardtanh huber_loss
    leaky_relu linalg_vector_norm max maximum min minimum norm prelu _prelu_kernel relu relu6 selu smooth_l1_loss softshrink std
    huber_loss_backward smooth_l1_loss_backward _cdist_forward _pdist_forward
    """.split()
)
"""Continuous, and smooth on both sides of places where their slope jumps."""


FACTORED: frozenset[str] = frozenset(_MATRICES.split()) - {"_linalg_slogdet"}
"""Smooth, though they give integers beside it: pivots, and whether a factorisation succeeded; slogdet gives a sign too."""


def functional(call: Call) -> str:
    """Return the name of what an operation computes, whether or not it writes it in place: "sign" for `sign_`.

    >>> import torch
    >>> functional(Call(torch.ops.aten.sign_.default, (torch.zeros(1),), {}))
    'sign'
    """
    return _functional(call.name)


@cache
def _functional(name: str) -> str:
    return name.removeprefix("_foreach_").rstrip("_")


def is_smooth(call: Call) -> bool:
    """Whether an operation is known to be smooth in its floating-point arguments.

    >>> import torch
    >>> x = torch.zeros(1)
    >>> [is_smooth(Call(op, (x, x), {})) for op in (torch.ops.aten.mul.Tensor, torch.ops.aten.copysign.Tensor)]
    [True, False]
    """
    if functional(call) not in SMOOTH:
        return False
    return "rounding_mode" not in call.operation.arguments or call.bound.get("rounding_mode") not in ("floor", "trunc")


def is_kinked(call: Call) -> bool:
    """Whether an operation is known to be continuous, though its slope may jump."""
    return functional(call) in KINKED
