"""One distribution: its packages, links, guards, tools, and what a wheel carries."""

import importlib.util
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OUTER = ("pallas", "configs", "train", "serve")

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="runs from a checkout"
)


def setuptools_table() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a tool; its output is the message where it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_packages_are_the_folders_with_an_init():
    inner = [path.parent for path in (ROOT / "lsdjax").rglob("__init__.py")]
    found = {path.relative_to(ROOT).as_posix().replace("/", ".") for path in inner}
    for name in OUTER:
        for path in (ROOT / name).rglob("__init__.py"):
            found.add(f"lsdjax.{path.parent.relative_to(ROOT).as_posix().replace('/', '.')}")
    assert set(setuptools_table()["packages"]) == found


@pytest.mark.parametrize("name", OUTER)
def test_links_point_at_the_folders_at_the_top(name):
    link = ROOT / "lsdjax" / name
    assert link.is_symlink()
    assert link.readlink().as_posix() == f"../{name}"
    assert setuptools_table()["package-dir"][f"lsdjax.{name}"] == name


@pytest.mark.parametrize("name", OUTER)
def test_folders_at_the_top_refuse_to_be_packages_of_their_own(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / name / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=rf"import lsdjax\.{name}, not {name}"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_imports_keep_their_order():
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    run(sys.executable, "-c", code)


def test_code_passes_ruff():
    run(sys.executable, "-m", "ruff", "check", "--no-cache", ".")
    run(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".")


def test_types_pass_pyright():
    run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel, built from an sdist of what git would carry, with links replaced by nothing."""
    folder = tmp_path_factory.mktemp("build")
    tree = folder / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in OUTER:
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    shutil.copytree(ROOT / "lsdjax", tree / "lsdjax", ignore=_ignored_inside)
    hooks = "from setuptools import build_meta as m; import sys"
    sdist = run(
        sys.executable, "-c", f"{hooks}; print(m.build_sdist(sys.argv[1]))", folder, cwd=tree
    )
    shutil.unpack_archive(folder / sdist.splitlines()[-1], folder, filter="data")
    unpacked = folder / sdist.splitlines()[-1].removesuffix(".tar.gz")
    name = run(
        sys.executable, "-c", f"{hooks}; print(m.build_wheel(sys.argv[1]))", folder, cwd=unpacked
    )
    return folder / name.splitlines()[-1]


def _ignored_inside(folder: str, names: list[str]) -> set[str]:
    """Zip archives lose links, so the build has to do without them."""
    return {n for n in names if n == "__pycache__" or (Path(folder) / n).is_symlink()}


def test_wheel_carries_every_module_the_page_and_the_assets(wheel):
    names = set(run(sys.executable, "-m", "zipfile", "-l", wheel).split())
    expected = {"lsdjax/py.typed", "lsdjax/cli/__init__.py"}
    for folder in (ROOT / "lsdjax", *(ROOT / name for name in OUTER)):
        prefix = "" if folder.name == "lsdjax" else "lsdjax/"
        for path in folder.rglob("*.py"):
            expected.add(prefix + path.relative_to(ROOT).as_posix())
    for folder in (ROOT / "serve" / "page", ROOT / "lsdjax" / "assets"):
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(ROOT).as_posix()
                expected.add(name if name.startswith("lsdjax/") else f"lsdjax/{name}")
    assert expected <= names
    tops = {name.split("/")[0] for name in names if "/" in name}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lsdjax"}


@pytest.mark.slow
def test_installed_wheel_finds_its_assets(wheel, tmp_path):
    """In an environment of its own, away from the checkout, on this one's dependencies."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    site = Path(run(python, "-c", "import site; print(site.getsitepackages()[0])").strip())
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    packages = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(packages))
    code = (
        "import lsdjax, lsdjax.cli, lsdjax.serve.server; from importlib.resources import files;"
        "print(lsdjax.__file__);"
        "assert any(files('lsdjax.serve').joinpath('page').iterdir());"
        "assert any(files('lsdjax.assets').iterdir())"
    )
    where = run(python, "-c", code, cwd=tmp_path)
    assert str(site) in where
    assert "bench" in run(python, "-m", "lsdjax", "--help", cwd=tmp_path)
