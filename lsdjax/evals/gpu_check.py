"""Check and time the kernels on a Hopper GPU: `python -m lsdjax.evals.gpu_check`.

Every task has a process of its own under its own timeout, so that a kernel that hangs or dies takes
nothing with it, and the whole ends within nine minutes. Writes JSON and prints a table. With
`--dry-run` the same is gone through on the CPU, on tiny shapes in the interpreter: it shows that
the script works, not how fast anything is.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TOTAL_SECONDS = 510.0
DRY_SECONDS = 1200.0
INTERPRETER = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
"""The interpreter's threads wait for each other inside XLA's pool of threads, which grows with the
number of devices: with one device on two cores a chain of kernels was seen to hang."""

TASK_SECONDS = {"chain": 120.0, "single pass": 120.0, "xla": 60.0, "torch": 120.0}


def main(arguments: list[str] | None = None) -> int:
    """Run all tasks, or with `--task` the one whose number is given, and tell what was found."""
    parser = argparse.ArgumentParser(prog="lsdjax.evals.gpu_check", description=__doc__)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"))
    parser.add_argument("--seed", type=int, default=None, help="by default a new one each time")
    parser.add_argument(
        "--layers",
        type=int,
        default=4,
        help="blocks of a timed forward; 0 for all of the model, which take longer to compile",
    )
    parser.add_argument("--task", type=int, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    seed = int(time.time()) if options.seed is None else options.seed
    if options.task is not None:
        return one_task(options.task, seed, options.layers, dry=options.dry_run)
    results = all_tasks(seed, options.layers, dry=options.dry_run)
    options.out.write_text(json.dumps({"seed": seed, "results": results}, indent=1))
    print(as_table(results))
    return 0 if all(result.get("passed", True) for result in results) else 1


def one_task(number: int, seed: int, layers: int, *, dry: bool) -> int:
    """In a process of its own: print what was found as the last line."""
    from lsdjax.evals import gpu_tasks

    tasks = gpu_tasks.DRY_TASKS if dry else gpu_tasks.TASKS
    print(json.dumps(gpu_tasks.run_task(tasks[number], seed, layers, dry=dry)))
    return 0


def all_tasks(seed: int, layers: int, *, dry: bool) -> list[dict[str, Any]]:
    """What each task found, or how it failed; those that time is left for."""
    from lsdjax.evals import gpu_tasks

    tasks, start = gpu_tasks.DRY_TASKS if dry else gpu_tasks.TASKS, time.monotonic()
    results = []
    for number, task in enumerate(tasks):
        left = TOTAL_SECONDS - (time.monotonic() - start)
        limit = DRY_SECONDS if dry else min(TASK_SECONDS[task.path], left)
        command = [sys.executable, "-m", "lsdjax.evals.gpu_check", f"--task={number}"]
        command += [f"--seed={seed}", f"--layers={layers}", *(["--dry-run"] if dry else [])]
        if left < 10 and not dry:
            results.append({"task": task.name, "skipped": "no time left"})
            continue
        results.append({"task": task.name} | _run(command, limit, INTERPRETER if dry else {}))
        print(json.dumps(results[-1]), file=sys.stderr)
    return results


def _run(command: list[str], limit: float, more: dict[str, str]) -> dict[str, Any]:
    # Otherwise the last line of what JAX says is how to see more of it.
    environment = os.environ | {"JAX_TRACEBACK_FILTERING": "off"} | more
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=limit, env=environment
        )
    except subprocess.TimeoutExpired:
        return {"passed": False, "failed": f"not done after {limit:.0f} s"}
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        return {"passed": False, "failed": said[-1] if said else f"status {done.returncode}"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def as_table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row a task, its median beside the floor of its shape."""
    lines = ["| task | layers | median ms | spread ms | floor ms | error | |", "|---" * 7 + "|"]
    for found in results:
        cells = [
            f"{found[key]:.3g}" if key in found else ""
            for key in ("median_ms", "spread_ms", "floor_ms", "error")
        ]
        note = found.get("failed") or found.get("skipped") or ""
        if "differing_repeats" in found:
            note = f"{found['differing_repeats']} repeats differ"
        cells.insert(0, str(found.get("layers", "")))
        lines.append(f"| {found['task']} | {' | '.join(cells)} | {note} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
