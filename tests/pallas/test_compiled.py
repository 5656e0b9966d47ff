"""The kernels at production shapes, compiled for sm_90a on a machine without a GPU: the gates.

Needs the dependency group `hopper` (a compiler of 1.3 GB and no driver); skipped without.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lsdjax.configs.wan import WAN_1_3B
from lsdjax.evals.wan_cost import step_cost

SCRIPT = Path(__file__).with_name("offline.py")
ROOT = SCRIPT.parent.parent.parent
SMEM_LIMIT = 232_448
FENCES = {
    "ring_attention": 2, "project_qkv": 7, "project_query": 2, "project_gelu": 5,
    "project_residual": 1,
}  # fmt: skip
"""Before wgmma or the copy engine reads what a warpgroup wrote. The interpreter's race detector
sees those before copies only, so they are counted in the machine code."""
WAN_FENCES = FENCES | {"project_qkv": 3}  # tiles of one head
PER_BLOCK, IN_ONE = 9, 2
"""Device kernels of a student's block, with cross-attention: of the chain, and of the single pass.
Without cross-attention three fewer."""
PER_STREAM_STEP, PER_STREAM_STEP_IN_ONE = 110, 114
"""Of the student's step besides its blocks: stem, head, sampler and repair."""
RING = 2 * 2 * 7 * 880 * 1024
"""Bytes of the keys and values of seven frames in one layer."""
WAN_PER_BLOCK, WAN_PER_PASS, WAN_PER_STEP = 9, 8, 23
"""With cross-attention; and besides the blocks, in each pass and once a step."""
WAN_RING = 2 * 2 * 8 * 1560 * 1536
"""Bytes of the keys and values of eight frames in one layer."""


def reports(folder: Path, *cases: str) -> dict[str, dict]:
    """Compile in a process of its own, or skip where there is nothing to compile with."""
    if not all(map(importlib.util.find_spec, ("jax_plugins", "jax_cuda13_plugin"))):
        pytest.skip("compile gates for Hopper need `uv sync --group hopper`")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SCRIPT), str(folder), *cases]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=3600
    )
    if (skip := folder / "skip.txt").exists():
        pytest.skip(f"compile gates for Hopper cannot run here: {skip.read_text()}")
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "report.json").read_text())


def check_kernels(report: dict[str, dict]) -> None:
    for case, compiled in report.items():
        for name, kernel in compiled["kernels"].items():
            where = f"{case}: {name}: {kernel}"
            assert kernel["spill_stores"] == 0, where
            assert kernel["local_memory"] == 0, where
            assert "C7512" not in kernel["warnings"], where  # wgmma was serialised
            assert "C7508" not in kernel["warnings"], where  # register counts were ignored
            assert kernel["hgmma"] + kernel["qgmma"] > 0, where
            assert kernel["smem"] <= SMEM_LIMIT, where
            assert kernel["dependent_launch"] > 0, where


def check_blocks(compiled: dict, kernels: int, most: int, besides: int) -> None:
    """Two blocks of so many of our kernels each, at most `most` with XLA's, and no more `besides`.

    XLA launches in between what has to be done once, so a block is no piece of the sequence.
    """
    thunks = compiled["thunks"]
    told = json.dumps(thunks, indent=1)
    ours = [thunk for thunk in thunks if thunk.startswith(("kCustomCall", "kDynamicSliceFusion"))]
    assert len(ours) == 2 * kernels, told
    assert len(thunks) <= 2 * most + besides, told
    assert len(compiled["kernels"]) == kernels, "both blocks have the same"


def check_rings(compiled: dict, ring: int, room: int) -> None:
    """The cache of two layers is written where it lies; `room` bytes for all else are too few."""
    assert compiled["donated"] >= 2 * ring
    assert compiled["temporaries"] < room, "a ring is copied"


def check_fences(kernels: dict[str, dict], fences: dict[str, int] = FENCES) -> None:
    for name, kernel in kernels.items():
        wanted = fences[name.rpartition("_")[0]]
        assert kernel["shared_fences"] >= wanted, f"{name}: {kernel}"


def test_a_student_step_compiles_within_the_gates(tmp_path):
    report = reports(tmp_path, "student_chain", "student_single_pass", "student_fp8")
    check_kernels(report)
    chain, in_one, rounded = report.values()
    check_fences(chain["kernels"])
    check_blocks(chain, 8, PER_BLOCK, PER_STREAM_STEP)
    check_blocks(in_one, 1, IN_ONE, PER_STREAM_STEP_IN_ONE)
    for compiled in (chain, in_one):
        check_rings(compiled, RING, 2 * RING)
    assert all(name.startswith("single_pass_block") for name in in_one["kernels"])
    in_8_bits = [kernel for name, kernel in rounded["kernels"].items() if "_fp8_" in name]
    assert len(in_8_bits) == 6 and all(kernel["qgmma"] for kernel in in_8_bits)


def test_a_wan_step_over_one_frame_compiles_within_the_gates(tmp_path):
    report = reports(tmp_path, "wan_frame")
    check_kernels(report)
    compiled = report["wan_frame"]
    check_fences(compiled["kernels"], WAN_FENCES)
    check_blocks(compiled, 8, WAN_PER_BLOCK, WAN_PER_PASS + WAN_PER_STEP)
    check_rings(compiled, WAN_RING, WAN_RING)


@pytest.mark.slow
def test_the_default_wan_step_compiles_and_is_counted(tmp_path):
    """Chunks of three frames, four denoising steps and a clean pass: by kernels, and by XLA."""
    report = reports(tmp_path, "wan_default", "wan_default_xla")
    kernels, xla = report["wan_default"], report["wan_default_xla"]
    check_kernels(report)
    cost = step_cost(WAN_1_3B)
    passes, one = cost["passes a step"], cost["one pass"]
    most = passes * (WAN_1_3B.depth * WAN_PER_BLOCK + WAN_PER_PASS) + WAN_PER_STEP
    assert len(kernels["thunks"]) <= most
    ring = WAN_1_3B.depth * WAN_1_3B.slots * WAN_RING // 8
    assert min(kernels["donated"], xla["donated"]) >= ring
    assert kernels["temporaries"] < ring / 4
    assert xla["kernels"] == {}
    floor = {"flops": passes * 1e12 * one["TFLOP"]}
    floor["bytes"] = passes * 1e9 * (one["weights GB"] + one["KV cache GB"])
    for key, unit in (("flops", "TFLOP"), ("bytes", "TB")):
        print(f"{unit} a step: XLA {xla['counts'][key] / 1e12:.2f}, floor {floor[key] / 1e12:.2f}")
    assert 1 <= xla["counts"]["flops"] / floor["flops"] < 1.05
    assert xla["counts"]["bytes"] > floor["bytes"]
