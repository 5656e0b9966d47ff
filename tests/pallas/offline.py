"""Compile kernels to sm_90a machine code on a machine without a GPU, and read what came out.

Run as a script in a process of its own (the dumps are asked for by environment variables):
`python offline.py FOLDER CASE ...` writes FOLDER/report.json, or FOLDER/skip.txt with the reason
why nothing can be compiled here. Needs the dependency group `hopper`.
"""

import json
import logging
import os
import re
import sys
import time
from pathlib import Path

DESCRIPTION = Path(__file__).with_name("h200.txtpb")


def ask_for_dumps(folder: Path) -> None:
    """Before JAX starts: Mosaic's and XLA's evidence goes to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"
    os.environ["MOSAIC_GPU_DUMP_TO"] = str(folder)
    for evidence in ("PTXAS", "SASS", "RESOURCES"):
        os.environ[f"MOSAIC_GPU_DUMP_{evidence}"] = "1"
    os.environ["XLA_FLAGS"] = f"--xla_dump_to={folder}/xla --xla_force_host_platform_device_count=1"


def hopper():
    """The sharding of one Hopper chip that is not there.

    Raises:
        ImportError, RuntimeError, ValueError: the compiler's packages are absent.
    """
    import jax
    from jax._src import xla_bridge
    from jax.experimental import topologies

    logging.disable(logging.CRITICAL)  # of the driver that is not there
    jax.devices()
    if "cuda" not in xla_bridge._topology_factories:
        import jax_plugins.xla_cuda13 as plugin  # pyright: ignore[reportMissingImports]

        library = str(plugin._get_library_path())
        xla_bridge.register_plugin("cuda", priority=500, library_path=library)
    topology = topologies.get_topology_desc(
        "h200", platform="cuda", target_config=DESCRIPTION.read_text(), topology="1x1x1"
    )
    return jax.sharding.SingleDeviceSharding(topology.devices[0])


def compile_case(name: str, function, arguments, donate: tuple[int, ...], sharding) -> dict:
    """Compile `function` for the chip: seconds, and bytes of temporaries and of what results take
    the place of. The rest is in the dumps."""
    import jax

    def placed(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    start = time.monotonic()
    function.__name__ = name
    jitted = jax.jit(function, donate_argnums=donate)
    traced = jitted.trace(*jax.tree.map(placed, arguments))
    memory = traced.lower(lowering_platforms=("cuda",)).compile().memory_analysis()
    assert memory is not None
    return {
        "seconds": round(time.monotonic() - start, 1),
        "temporaries": memory.temp_size_in_bytes,
        "donated": memory.alias_size_in_bytes,
    }


def read_kernel(path: Path) -> dict:
    """What ptxas and the disassembler say of one kernel, from its `.ptxas` dump and neighbours."""
    said = path.read_text()
    machine_code = path.with_suffix(".sass_ctrl").read_text()
    resources = path.with_suffix(".resources.txt").read_text()

    def number(pattern: str, text: str) -> int:
        found = re.search(pattern, text)
        assert found, f"{path.name} does not say {pattern!r}"
        return int(found[1])

    return {
        "registers": number(r"Used (\d+) registers", said),
        "spill_stores": number(r"(\d+) bytes spill stores", said),
        "smem": number(r"smem_scratch_bytes=(\d+)", resources),
        "warnings": sorted(set(re.findall(r"\bC7\d{3}\b", said))),
        "hgmma": len(re.findall(r"\bHGMMA\b", machine_code)),
        "qgmma": len(re.findall(r"\bQGMMA\b", machine_code)),
        "shared_fences": len(re.findall(r"\bFENCE\.VIEW\.ASYNC\.S\b", machine_code)),
        "local_memory": len(re.findall(r"\b(?:LDL|STL)\b", machine_code)),
        "dependent_launch": len(re.findall(r"\bACQBULK\b", machine_code)),
    }


def device_kernels(folder: Path, name: str) -> list[str]:
    """The thunks of a compiled module that launch something, in order."""
    (path,) = folder.glob(f"xla/*.jit_{name}.*thunk_sequence.txt")
    lines = [line for line in path.read_text().splitlines() if re.match(r"\d+:", line)]
    return [re.sub(r"^\d+:\s*", "", line) for line in lines]


def counts(folder: Path, name: str) -> dict[str, float]:
    """FLOPs and bytes of a compiled module, by XLA's own count; Pallas kernels count nothing.

    XLA counts a loop's body once. Here it counts as often as it runs: the body is made the entry of
    the module, and counted on its own.
    """
    (path,) = folder.glob(f"xla/*.jit_{name}.*gpu_after_optimizations.txt")
    whole = path.read_text()
    total = _count(whole)
    rest = whole[whole.index("\n") :].replace("\nENTRY ", "\n")
    bodies: dict[str, dict[str, float]] = {}
    for loop in re.findall(r"^ .* while\(.*$", whole, re.MULTILINE):
        shapes = loop[loop.index("(") : loop.index(" while(")]  # the same work on the same shapes
        if shapes not in bodies:
            (body,) = re.findall(r"body=(%[\w.-]+)", loop)
            entry = rest.replace(f"\n{body} ", f"\nENTRY {body} ")
            bodies[shapes] = _count("HloModule body\n" + entry)
        (times,) = re.findall(r'"known_trip_count":\{"n":"(\d+)"', loop)
        total = {key: total[key] + (int(times) - 1) * bodies[shapes][key] for key in total}
    return total


def _count(module: str) -> dict[str, float]:
    import jax
    from jax._src.lib import _jax  # pyright: ignore[reportPrivateImportUsage]
    from jaxlib import _hlo  # pyright: ignore[reportAttributeAccessIssue]

    backend = jax.devices("cpu")[0].client
    told = _jax.hlo_module_cost_analysis(backend, _hlo.hlo_module_from_text(module))
    return {"flops": told["flops"], "bytes": told["bytes accessed"]}


def main(folder: Path, cases: list[str]) -> None:
    ask_for_dumps(folder)
    try:
        sharding = hopper()
    except (ImportError, RuntimeError, ValueError) as error:
        (folder / "skip.txt").write_text(f"{type(error).__name__}: {str(error).splitlines()[0]}")
        return
    sys.path.insert(0, str(Path(__file__).parent))
    from cases import CASES

    report = {}
    for case in cases or CASES:
        function, arguments, donate = CASES[case]()
        before = set(folder.glob("*.ptxas"))
        told = compile_case(case, function, arguments, donate, sharding)
        kernels = {path.stem: read_kernel(path) for path in set(folder.glob("*.ptxas")) - before}
        report[case] = told | {
            "kernels": kernels,
            "counts": counts(folder, case),
            "thunks": device_kernels(folder, case),
        }
        (folder / "report.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
