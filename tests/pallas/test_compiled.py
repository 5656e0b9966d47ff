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
FENCES = {"ring_attention": 2, "project_heads": 7, "project_gelu": 5, "project_residual": 1}
"""Before wgmma or the copy engine reads what a warpgroup wrote. The interpreter's race detector
sees those before copies only, so they are counted in the machine code."""
WAN_FENCES = FENCES | {"project_qkv": 3, "project_query": 2}  # tiles of one head
PER_FRAME = 8
"""Device kernels that a frame needs once, however many layers there are."""
PER_BLOCK = {"student_chain": 6, "student_single_pass": 2}
WAN_PER_BLOCK, WAN_PER_PASS, WAN_PER_STEP = 9, 10, 22
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


def check_counts(report: dict[str, dict], forward: str) -> None:
    """A second layer adds the kernels of one block; what a frame needs once is in the first."""
    one, two = (len(report[f"{forward}_{layers}"]["thunks"]) for layers in (1, 2))
    said = json.dumps(report[f"{forward}_2"]["thunks"], indent=1)
    assert 0 < two - one <= PER_BLOCK[forward], said
    assert two <= PER_FRAME + 2 * PER_BLOCK[forward], said


def check_fences(kernels: dict[str, dict], fences: dict[str, int] = FENCES) -> None:
    for name, kernel in kernels.items():
        wanted = fences[name.rpartition("_")[0]]
        assert kernel["shared_fences"] >= wanted, f"{name}: {kernel}"


def test_student_compiles_within_the_gates(tmp_path):
    forwards = ("student_chain", "student_single_pass")
    cases = [f"{name}_{layers}" for name in forwards for layers in (1, 2)]
    report = reports(tmp_path, *cases, "student_fp8")
    check_kernels(report)
    check_fences(report["student_chain_1"]["kernels"])
    assert all(kernel["qgmma"] > 0 for kernel in report["student_fp8"]["kernels"].values())
    for forward in forwards:
        check_counts(report, forward)
    names = {name for case in report.values() for name in case["kernels"]}
    assert any(name.startswith("single_pass_block") for name in names), names


def test_a_wan_step_over_one_frame_compiles_within_the_gates(tmp_path):
    report = reports(tmp_path, "wan_frame")
    check_kernels(report)
    check_fences(report["wan_frame"]["kernels"], WAN_FENCES)
    assert len(report["wan_frame"]["kernels"]) == 8, "both blocks have the same"
    thunks, told = (
        report["wan_frame"]["thunks"],
        json.dumps(report["wan_frame"]["thunks"], indent=1),
    )
    ours = [
        number
        for number, thunk in enumerate(thunks)
        if thunk.startswith(("kCustomCall", "kDynamicSliceFusion"))
    ]
    assert len(ours) == 2 * 8, told
    assert ours[-1] + 1 - ours[8] <= WAN_PER_BLOCK, told  # the second block
    assert len(thunks) <= 2 * WAN_PER_BLOCK + WAN_PER_PASS + WAN_PER_STEP, told
    assert report["wan_frame"]["donated"] >= 2 * WAN_RING
    assert report["wan_frame"]["temporaries"] < WAN_RING, "a layer's ring is copied"


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
