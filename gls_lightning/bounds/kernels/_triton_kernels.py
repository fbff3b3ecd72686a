"""Kernels for CUDA in Triton; importing this file imports Triton, which not every installation has.

All read tensors by their strides, 0 where they are the same for all members, samples or positions. A *place* is one
member, sample and position; programs are numbered by places and, inside them, by blocks. Offsets have 64 bits: tensors
of coefficients have more than 2**31 elements. Nothing is summed by atomic additions, so results can be repeated.
"""

import triton
import triton.language as tl


@triton.jit
def _start(tensor, place, batch, positions, stride_m, stride_b, stride_p):
    """Returns where the numbers of a place begin."""
    member = place // (batch * positions)
    sample = (place // positions) % batch
    return tensor + member * stride_m + sample * stride_b + (place % positions) * stride_p


@triton.jit
def relax_forward(
    rows, slope, narrowing, gap, values, constant,
    batch, positions, size, length,
    rows_m, rows_b, rows_p, rows_s, rows_k,
    slope_m, slope_b, slope_p, slope_k,
    narrowing_m, narrowing_b, narrowing_p, narrowing_k,
    gap_m, gap_b, gap_p, gap_k,
    block_s: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    """Relaxes ``block_s`` rows of one place; ``values`` and ``constant`` are contiguous."""
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(size, block_s)
    place = program // blocks
    s = (program % blocks) * block_s + tl.arange(0, block_s)
    in_s = s < size
    rows = _start(rows, place, batch, positions, rows_m, rows_b, rows_p) + s[:, None] * rows_s
    values = values + (place * size + s[:, None]) * length
    slope = _start(slope, place, batch, positions, slope_m, slope_b, slope_p)
    narrowing = _start(narrowing, place, batch, positions, narrowing_m, narrowing_b, narrowing_p)
    gap = _start(gap, place, batch, positions, gap_m, gap_b, gap_p)
    total = tl.zeros([block_s, block_k], dtype=values.dtype.element_ty)
    for first in range(0, length, block_k):
        k = first + tl.arange(0, block_k)
        in_k = k < length
        inside = in_s[:, None] & in_k[None, :]
        row = tl.load(rows + k[None, :] * rows_k, mask=inside, other=0.0)
        above = tl.load(slope + k * slope_k, mask=in_k, other=0.0)[None, :]
        narrower = tl.load(narrowing + k * narrowing_k, mask=in_k, other=0.0)[None, :]
        distance = tl.load(gap + k * gap_k, mask=in_k, other=0.0)[None, :]
        positive = row > 0
        # The sum of the slopes first: where they cancel, the product must be 0 and no rounding error.
        tl.store(values + k[None, :], row * (above + tl.where(positive, narrower, 0.0)), mask=inside)
        total += tl.where(positive, row, 0.0) * distance
    tl.store(constant + place * size + s, -tl.sum(total, axis=1), mask=in_s)


@triton.jit
def relax_backward(
    rows, slope, narrowing, gap, grad, grad_constant, grad_rows, grad_slope, grad_narrowing, grad_gap,
    batch, positions, size, length,
    rows_m, rows_b, rows_p, rows_s, rows_k,
    slope_m, slope_b, slope_p, slope_k,
    narrowing_m, narrowing_b, narrowing_p, narrowing_k,
    gap_m, gap_b, gap_p, gap_k,
    grad_m, grad_b, grad_p, grad_s, grad_k,
    constant_m, constant_b, constant_p, constant_s,
    block_s: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    """Differentiates ``block_k`` columns of one place, one block of rows after the other; results are contiguous."""
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(length, block_k)
    place = program // blocks
    k = (program % blocks) * block_k + tl.arange(0, block_k)
    in_k = k < length
    slope = _start(slope, place, batch, positions, slope_m, slope_b, slope_p)
    narrowing = _start(narrowing, place, batch, positions, narrowing_m, narrowing_b, narrowing_p)
    gap = _start(gap, place, batch, positions, gap_m, gap_b, gap_p)
    above = tl.load(slope + k * slope_k, mask=in_k, other=0.0)[None, :]
    narrower = tl.load(narrowing + k * narrowing_k, mask=in_k, other=0.0)[None, :]
    distance = tl.load(gap + k * gap_k, mask=in_k, other=0.0)[None, :]
    rows = _start(rows, place, batch, positions, rows_m, rows_b, rows_p) + k[None, :] * rows_k
    grad = _start(grad, place, batch, positions, grad_m, grad_b, grad_p) + k[None, :] * grad_k
    grad_constant = _start(grad_constant, place, batch, positions, constant_m, constant_b, constant_p)
    grad_rows = grad_rows + place * size * length + k[None, :]
    for_slope = tl.zeros([block_s, block_k], dtype=grad_rows.dtype.element_ty)
    for_narrowing = tl.zeros([block_s, block_k], dtype=grad_rows.dtype.element_ty)
    for_gap = tl.zeros([block_s, block_k], dtype=grad_rows.dtype.element_ty)
    for first in range(0, size, block_s):
        s = first + tl.arange(0, block_s).to(tl.int64)
        in_s = s < size
        inside = in_s[:, None] & in_k[None, :]
        row = tl.load(rows + s[:, None] * rows_s, mask=inside, other=0.0)
        of_value = tl.load(grad + s[:, None] * grad_s, mask=inside, other=0.0)
        of_constant = tl.load(grad_constant + s * constant_s, mask=in_s, other=0.0)[:, None]
        positive = row > 0
        through_line = of_value * (above + tl.where(positive, narrower, 0.0))
        of_row = through_line - tl.where(positive, of_constant * distance, 0.0)
        tl.store(grad_rows + s[:, None] * length, of_row, mask=inside)
        by_row = of_value * row
        for_slope += by_row
        for_narrowing += tl.where(positive, by_row, 0.0)
        for_gap += tl.where(positive, row, 0.0) * of_constant
    tl.store(grad_slope + place * length + k, tl.sum(for_slope, axis=0), mask=in_k)
    tl.store(grad_narrowing + place * length + k, tl.sum(for_narrowing, axis=0), mask=in_k)
    tl.store(grad_gap + place * length + k, -tl.sum(for_gap, axis=0), mask=in_k)


@triton.jit
def absolute_dot_forward(
    rows, radius, sums,
    batch, positions, size, length,
    rows_m, rows_b, rows_p, rows_s, rows_k,
    radius_m, radius_b, radius_p, radius_k,
    block_s: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    """Sums ``|rows| * radius`` for ``block_s`` rows of one place; ``sums`` are contiguous."""
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(size, block_s)
    place = program // blocks
    s = (program % blocks) * block_s + tl.arange(0, block_s)
    in_s = s < size
    rows = _start(rows, place, batch, positions, rows_m, rows_b, rows_p) + s[:, None] * rows_s
    radius = _start(radius, place, batch, positions, radius_m, radius_b, radius_p)
    total = tl.zeros([block_s, block_k], dtype=sums.dtype.element_ty)
    for first in range(0, length, block_k):
        k = first + tl.arange(0, block_k)
        in_k = k < length
        row = tl.load(rows + k[None, :] * rows_k, mask=in_s[:, None] & in_k[None, :], other=0.0)
        width = tl.load(radius + k * radius_k, mask=in_k, other=0.0)[None, :]
        total += tl.abs(row) * width
    tl.store(sums + place * size + s, tl.sum(total, axis=1), mask=in_s)


@triton.jit
def absolute_dot_backward(
    rows, radius, grad, grad_rows, grad_radius,
    batch, positions, size, length,
    rows_m, rows_b, rows_p, rows_s, rows_k,
    radius_m, radius_b, radius_p, radius_k,
    grad_m, grad_b, grad_p, grad_s,
    block_s: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    """Differentiates ``block_k`` columns of one place, one block of rows after the other; results are contiguous."""
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(length, block_k)
    place = program // blocks
    k = (program % blocks) * block_k + tl.arange(0, block_k)
    in_k = k < length
    radius = _start(radius, place, batch, positions, radius_m, radius_b, radius_p)
    width = tl.load(radius + k * radius_k, mask=in_k, other=0.0)[None, :]
    rows = _start(rows, place, batch, positions, rows_m, rows_b, rows_p) + k[None, :] * rows_k
    grad = _start(grad, place, batch, positions, grad_m, grad_b, grad_p)
    grad_rows = grad_rows + place * size * length + k[None, :]
    total = tl.zeros([block_s, block_k], dtype=grad_rows.dtype.element_ty)
    for first in range(0, size, block_s):
        s = first + tl.arange(0, block_s).to(tl.int64)
        in_s = s < size
        inside = in_s[:, None] & in_k[None, :]
        row = tl.load(rows + s[:, None] * rows_s, mask=inside, other=0.0)
        of_sum = tl.load(grad + s * grad_s, mask=in_s, other=0.0)[:, None]
        by_element = of_sum * width
        of_row = tl.where(row > 0, by_element, tl.where(row < 0, -by_element, 0.0))
        tl.store(grad_rows + s[:, None] * length, of_row, mask=inside)
        total += tl.abs(row) * of_sum
    tl.store(grad_radius + place * length + k, tl.sum(total, axis=0), mask=in_k)


@triton.jit
def relaxed_product(
    rows, slope, narrowing, gap, matrix, product, constant,
    batch, positions, size, length, columns,
    rows_m, rows_b, rows_p, rows_s, rows_k,
    slope_m, slope_b, slope_p, slope_k,
    narrowing_m, narrowing_b, narrowing_p, narrowing_k,
    gap_m, gap_b, gap_p, gap_k,
    matrix_m, matrix_k, matrix_l,
    outputs, length_of_line, columns_of_line, stride, padding, reach,
    precision: tl.constexpr, block_s: tl.constexpr, block_k: tl.constexpr, block_l: tl.constexpr,
):  # fmt: skip
    """Relaxes ``block_s`` rows of one place and multiplies them by ``block_l`` columns of a matrix with a band.

    Programs of the same rows follow each other, so that these are read from the cache; the first sums the constant.
    """
    program = tl.program_id(0).to(tl.int64)
    blocks_l = tl.cdiv(columns, block_l)
    blocks_s = tl.cdiv(size, block_s)
    block = (program % blocks_l).to(tl.int32)
    place = program // blocks_l // blocks_s
    s = (program // blocks_l % blocks_s) * block_s + tl.arange(0, block_s)
    in_s = s < size
    rows = _start(rows, place, batch, positions, rows_m, rows_b, rows_p) + s[:, None] * rows_s
    slope = _start(slope, place, batch, positions, slope_m, slope_b, slope_p)
    narrowing = _start(narrowing, place, batch, positions, narrowing_m, narrowing_b, narrowing_p)
    column = block * block_l + tl.arange(0, block_l)
    in_column = column < columns
    matrix = matrix + place // (batch * positions) * matrix_m + column[None, :] * matrix_l
    # The lines of the output that read any of the input's lines on which the columns lie.
    first_input = block * block_l // columns_of_line
    last_input = (tl.minimum(block * block_l + block_l, columns) - 1) // columns_of_line
    first = tl.maximum(first_input + padding - reach + stride, 0) // stride
    end = tl.minimum((last_input + padding + stride) // stride, outputs)
    total = tl.zeros([block_s, block_l], dtype=tl.float32)
    for start in range(first * length_of_line, end * length_of_line, block_k):
        k = start + tl.arange(0, block_k)
        in_k = k < end * length_of_line
        row = tl.load(rows + k[None, :] * rows_k, mask=in_s[:, None] & in_k[None, :], other=0.0)
        above = tl.load(slope + k * slope_k, mask=in_k, other=0.0)[None, :]
        narrower = tl.load(narrowing + k * narrowing_k, mask=in_k, other=0.0)[None, :]
        relaxed = row * (above + tl.where(row > 0, narrower, 0.0))
        part = tl.load(matrix + k[:, None] * matrix_k, mask=in_k[:, None] & in_column[None, :], other=0.0)
        total = tl.dot(relaxed, part, total, input_precision=precision)
    product = product + (place * size + s[:, None]) * columns + column[None, :]
    tl.store(product, total, mask=in_s[:, None] & in_column[None, :])
    if block == 0:
        gap = _start(gap, place, batch, positions, gap_m, gap_b, gap_p)
        lost = tl.zeros([block_s], dtype=tl.float32)
        for start in range(0, length, block_k):
            k = start + tl.arange(0, block_k)
            in_k = k < length
            row = tl.load(rows + k[None, :] * rows_k, mask=in_s[:, None] & in_k[None, :], other=0.0)
            distance = tl.load(gap + k * gap_k, mask=in_k, other=0.0)[None, :]
            lost += tl.sum(tl.where(row > 0, row, 0.0) * distance, axis=1)
        tl.store(constant + place * size + s, -lost, mask=in_s)
