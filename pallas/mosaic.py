"""What the Mosaic GPU kernels share: tiles in SMEM, the launch, and two stand-ins for the CPU.

A kernel has three warpgroups: two compute, and one loads. `Launch.interpret` runs it on the CPU
under the race detector; what the interpreter lacks (wgmma with an operand in registers, dependent
launch, semaphores across the grid) is replaced in this file and nowhere else.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import llvm

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


class Roles(NamedTuple):
    """What the warpgroups of a block do: `compute(wg)` the first ones, `load()` the last."""

    compute: Callable[[jax.Array], None]
    load: Callable[[], None]


def tile(shape: Sequence[int], dtype: Any) -> Any:
    """SMEM for tiles that wgmma and the copy engine share: (8, 128 bytes) swizzled by 128 bytes."""
    bits = jnp.dtype(dtype).itemsize * 8
    swizzle = plgpu.find_swizzle(shape[-1] * bits)
    transforms = (
        plgpu.TilingTransform((8, swizzle * 8 // bits)),  # pyright: ignore[reportAbstractUsage]
        plgpu.SwizzleTransform(swizzle),  # pyright: ignore[reportAbstractUsage]
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
    together: bool = False,
) -> Callable[..., Any]:
    """The kernel `body(*inputs, *outputs, **scratch)` on a grid of blocks of three warpgroups.

    together: the blocks meet at a `GridBarrier`.
    """
    settings: dict[str, Any] = {"grid": grid, "grid_names": names}
    if how.interpret:
        settings["interpret"] = plgpu.InterpretGPUParams(detect_races=True)
        if together:
            settings |= {"grid": (1,), "grid_names": ("once",)}
            settings |= {"cluster": grid, "cluster_names": names}
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


def by_role(roles: Roles, how: Launch, registers: int = 232) -> None:
    """Run what the first warpgroups compute and what the last one loads, registers to match."""
    wg = jax.lax.axis_index("wg")

    @pl.when(wg < COMPUTE)
    def _compute() -> None:
        if not how.interpret:
            plgpu.set_max_registers(registers, action="increase")
        roles.compute(wg)

    @pl.when(wg == COMPUTE)
    def _load() -> None:
        if not how.interpret:
            plgpu.set_max_registers(40, action="decrease")
        roles.load()


class GridBarrier:
    """Lets all blocks of the grid, which all have to be resident, pass one point after another.

    On the device a counter in memory; on the CPU the grid is one cluster, with its barriers.
    """

    def __init__(self, blocks: int, how: Launch, cluster: Any = None) -> None:
        self.blocks, self.how, self.cluster = blocks, how, cluster
        if not how.interpret:
            self.counter = pl.get_global(plgpu.SemaphoreType.REGULAR)

    @staticmethod
    def scratch(points: int, axis: str, how: Launch) -> dict[str, Any]:
        barrier = plgpu.ClusterBarrier(
            collective_axes=(axis,), num_barriers=points, num_arrivals=COMPUTE
        )
        return {"cluster": barrier} if how.interpret else {}

    def arrive(self, point: int) -> None:
        """A compute warpgroup's stores before the point are complete and visible to all blocks."""
        plgpu.commit_smem()  # its SMEM is about to be something else
        if self.how.interpret:
            plgpu.barrier_arrive(self.cluster.at[point])
        else:
            fence_device_memory()
            plgpu.semaphore_signal(self.counter, 1, memory_scope="gpu")

    def wait(self, point: int) -> None:
        """Any warpgroup: until all compute warpgroups of all blocks have arrived."""
        if self.how.interpret:
            plgpu.barrier_wait(self.cluster.at[point])
        else:
            arrivals = COMPUTE * self.blocks * (point + 1)
            plgpu.semaphore_wait(self.counter, arrivals, decrement=False, memory_scope="gpu")
            fence_device_memory()


def fence_device_memory() -> None:
    """Order device memory between ordinary accesses and the copy engine's, in both directions."""

    @plgpu.inline_mgpu()
    def fence(_context: Any) -> None:
        void = ir.Type.parse("!llvm.void")
        llvm.inline_asm(void, [], "fence.proxy.async.global;", "", has_side_effects=True)

    fence()  # pyright: ignore[reportCallIssue]


def product(a: Any, b: Any, shape: tuple[int, int]) -> jax.Array:
    """a @ b of two SMEM tiles, into registers."""

    def scope(acc: Any) -> jax.Array:
        plgpu.wgmma(acc, a, b)
        return acc[...]

    return pl.run_scoped(scope, plgpu.WGMMAAccumulatorRef(shape, jnp.float32))


def accumulate(acc: jax.Array, a: jax.Array, b: Any, how: Launch) -> jax.Array:
    """Acc + a @ b, with a in registers and b in SMEM."""
    if how.interpret:
        total = acc + jnp.dot(a, b[...], preferred_element_type=jnp.float32)
        plgpu.commit_smem()  # an ordinary load, where wgmma reads as the copy engine writes
        return total
    step: Any = pl.run_state(lambda ref: plgpu.wgmma(ref, a, b))
    return step(plgpu.WGMMAAccumulatorRef.init(acc))


def columns(vector: Any, start: Any, width: int) -> jax.Array:
    """`width` entries of a vector in device memory, one a column of a tile."""
    return plgpu.load(vector.at[pl.ds(start, width)], layout=COLUMN, optimized=False)


def of_frame(table: Any, row: jax.Array, n: int) -> Any:
    """The part of `table` (frames, ...) for the block of rows number `row`, of `n` rows in all.

    Frames follow each other, each of whole blocks.
    """
    frames = table.shape[0]
    if frames == 1:
        return table.at[0]
    return table.at[jax.lax.div(row, jnp.int32(n // (COMPUTE * ROWS * frames)))]


def sum_over_parts(part: Callable[[int], Any], parts: int) -> jax.Array:
    """Sum of `part(0)`, `part(1)`, ..., each 64 entries in device memory, one a row of a tile."""
    total = plgpu.layout_cast(jnp.zeros((ROWS,), jnp.float32), ROW)
    for number in range(parts):
        total = total + plgpu.load(part(number), layout=ROW, optimized=False)
    return total


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
