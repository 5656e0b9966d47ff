"""What the Mosaic GPU kernels share: tiles in SMEM, the launch, and two stand-ins for the CPU.

A kernel has three warpgroups: two compute, and one loads. `Launch.interpret` runs it on the CPU
under the race detector; what the interpreter lacks (wgmma with an operand in registers, dependent
launch, semaphores across the grid) is replaced in this file and nowhere else.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from lsdjax.pallas.compat import gpu_kernel

COMPUTE = 2
"""Warpgroups that compute; the next one loads."""

ROWS = 64
"""Rows of a warpgroup's tile: the height of one wgmma."""

SMEM_LIMIT = 232_448
"""Bytes of shared memory that a block may have on Hopper."""

MULTIPROCESSORS = 132
"""Of an H100 or H200 (SXM)."""

ROW = plgpu.Layout.WGMMA.reduce(1)
"""Layout of one value a row of a tile."""

COLUMN = plgpu.Layout.WGMMA.reduce(0)
"""Layout of one value a column of a tile."""


@dataclasses.dataclass(frozen=True)
class Launch:
    """How a kernel is run.

    Attributes:
        interpret: on the CPU, with the race detector, instead of compiled for the device.
        dependent: start before the kernel ahead of it in the stream has finished, and wait where
            its results are first read (programmatic dependent launch).
        defect: a fault put in on purpose, for the tests that show that it is caught.
    """

    interpret: bool = False
    dependent: bool = False
    defect: str | None = None


def tile(shape: Sequence[int], dtype: Any) -> Any:
    """SMEM for tiles that wgmma and the copy engine share: (8, 128 bytes) swizzled by 128 bytes."""
    bits = jnp.dtype(dtype).itemsize * 8
    swizzle = plgpu.find_swizzle(shape[-1] * bits)
    transforms = (
        plgpu.TilingTransform((8, swizzle * 8 // bits)),
        plgpu.SwizzleTransform(swizzle),
    )
    return plgpu.SMEM(tuple(shape), dtype, transforms=transforms)


def launch(
    body: Callable[..., None],
    outputs: Sequence[jax.ShapeDtypeStruct],
    scratch: dict[str, Any],
    how: Launch,
    *,
    grid: tuple[int, ...],
    names: tuple[str, ...],
    name: str,
) -> Callable[..., Any]:
    """The kernel `body(*inputs, *outputs, **scratch)` on a grid of blocks of three warpgroups."""
    settings: dict[str, Any] = {"grid": grid, "grid_names": names}
    if how.interpret:
        settings["interpret"] = plgpu.InterpretGPUParams(detect_races=True)
    return gpu_kernel(
        body,
        outputs,
        scratch,
        **settings,
        num_threads=COMPUTE + 1,
        thread_name="wg",
        kernel_name=name,
        compiler_params=plgpu.CompilerParams(
            approx_math=True,
            reduction_scratch_bytes=2048,
        ),
    )


def by_role(
    compute: Callable[[jax.Array], None], load: Callable[[], None], how: Launch, registers: int = 232
) -> None:
    """Run `compute(wg)` in the first warpgroups and `load()` in the last, registers to match."""
    wg = jax.lax.axis_index("wg")

    @pl.when(wg < COMPUTE)
    def _compute() -> None:
        if not how.interpret:
            plgpu.set_max_registers(registers, action="increase")
        compute(wg)

    @pl.when(wg == COMPUTE)
    def _load() -> None:
        if not how.interpret:
            plgpu.set_max_registers(40, action="decrease")
        load()


def product(a: Any, b: Any, shape: tuple[int, int], how: Launch) -> jax.Array:
    """a @ b of two SMEM tiles, into registers."""
    del how

    def scope(acc: Any) -> jax.Array:
        plgpu.wgmma(acc, a, b)
        return acc[...]

    return pl.run_scoped(scope, plgpu.ACC(shape, jnp.float32))


def accumulate(acc: jax.Array, a: jax.Array, b: Any, how: Launch) -> jax.Array:
    """Acc + a @ b, with a in registers and b in SMEM."""
    if how.interpret:
        return acc + jnp.dot(a, b[...], preferred_element_type=jnp.float32)
    step = pl.run_state(lambda ref: plgpu.wgmma(ref, a, b))
    return step(plgpu.ACC.init(acc))


def columns(vector: Any, start: Any, width: int) -> jax.Array:
    """`width` entries of a vector in device memory, one a column of a tile."""
    return plgpu.load(vector.at[pl.ds(start, width)], layout=COLUMN, optimized=False)


def over_rows(vector: jax.Array, rows: int) -> jax.Array:
    """(columns,) -> (rows, columns)."""
    return jax.lax.broadcast_in_dim(vector, (rows, vector.shape[0]), (1,))


def over_columns(vector: jax.Array, width: int) -> jax.Array:
    """(rows,) -> (rows, columns)."""
    return jax.lax.broadcast_in_dim(vector, (vector.shape[0], width), (0,))


def commit(how: Launch, point: str) -> None:
    """Make this warpgroup's stores to SMEM visible to wgmma and the copy engine."""
    if how.defect != f"commit:{point}":
        plgpu.commit_smem()


def wait_for_previous(how: Launch) -> None:
    """Under dependent launch, wait until the results of the kernel ahead are there."""
    if how.dependent and not how.interpret:
        plgpu.griddepcontrol_wait()


def release_next(how: Launch) -> None:
    """Under dependent launch, let the next kernel start its blocks."""
    if how.dependent and not how.interpret:
        plgpu.griddepcontrol_launch_dependents()


run_shared = functools.partial(pl.run_scoped, collective_axes="wg")
"""Allocations that the warpgroups of a block share."""
