"""`make` sets up the environment from an index alone: what torch's build asks for comes with it, and TORCH chooses the build."""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from itertools import product
from pathlib import Path
from urllib.parse import quote

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def write_wheel(index: Path, name: str, version: str, requires: str = "") -> None:
    """Add a wheel of nothing but its metadata to a package index in a folder."""
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    info, file = f"{name}-{version}.dist-info", f"{name}-{version}-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    if requires:
        metadata += f"Requires-Dist: {requires}\n"
    with zipfile.ZipFile(folder / file, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    with (folder / "index.html").open("a") as page:
        page.write(f'<a href="{quote(file)}">{file}</a>\n')


_BACKEND = """
import shutil

WHEEL = "ragcun-0.1-py3-none-any.whl"

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    shutil.copy(f"built/ragcun/{WHEEL}", wheel_directory)
    return WHEEL
"""


class Checkout:
    """The Makefile with small requirements; PyPI's torch asks for a CUDA library, the one of PyTorch's index does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "Makefile").write_text((ROOT / "Makefile").read_text())
        (folder / "requirements.txt").write_text("torch==1.0\nother==2.0\n")
        (folder / "requirements-cuda.txt").write_text("cudalib==3.0\n")
        # The project itself: its build backend, which in truth is setuptools, gives a wheel that is there.
        (folder / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
            '[project]\nname = "ragcun"\nversion = "0.1"\n'
        )
        (folder / "backend.py").write_text(_BACKEND)
        write_wheel(folder / "built", "ragcun", "0.1")
        for name, version, requires in [
            ("torch", "1.0", "cudalib>=3.0"),
            ("other", "2.0", ""),
            ("cudalib", "3.0", ""),
            ("cudalib", "4.0", ""),
        ]:
            write_wheel(folder / "pypi", name, version, requires)
        write_wheel(folder / "pytorch/cpu", "torch", "1.0+cpu")

    def install(self, **variables: str) -> dict[str, str]:
        """Make the environment, and read the versions of what is in it."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        own |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": (self.folder / "pypi").as_uri()}
        target = ".venv/.installed" + (f"-{variables['TORCH']}" if "TORCH" in variables else "")
        make = ["make", target, f"PYTHON={sys.executable}", f"TORCH_INDEX={(self.folder / 'pytorch').as_uri()}"]
        make += [f"{name}={value}" for name, value in variables.items()]
        ran = subprocess.run(make, cwd=self.folder, env=own, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        installed = (self.folder / ".venv").glob("lib/python3*/site-packages/*.dist-info")
        versions = dict(path.name.removesuffix(".dist-info").split("-") for path in installed)
        assert versions["ragcun"] == "0.1", "the command `ragcun` comes with the environment"
        return {name: versions[name] for name in ("torch", "other", "cudalib") if name in versions}


def test_what_torch_asks_for_is_installed_and_the_switch_takes_another_build(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    assert checkout.install() == {"torch": "1.0", "other": "2.0", "cudalib": "3.0"}
    assert checkout.install(TORCH="cpu")["torch"] == "1.0+cpu"
    (tmp_path / ".venv/.installed").unlink()
    assert checkout.install()["torch"] == "1.0+cpu", "a build that was chosen stays"


def test_every_requirement_of_the_environment_is_pinned() -> None:
    pins = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines() if line[:1] != "#"]
    assert all(str(pin.specifier).startswith("==") for pin in pins)
    pinned = {canonicalize_name(pin.name) for pin in pins}
    asked = {
        (canonicalize_name(requirement.name), name)
        for name in pinned
        for requirement in map(Requirement, distribution(name).requires or [])
        for platform, python in product(("linux", "darwin"), ("3.11", "3.12", "3.13"))
        if applies(requirement, platform, python)
    }
    assert ("networkx", "torch") in asked, "else no requirement was read"
    cuda = (ROOT / "requirements-cuda.txt").read_text()
    assert not [pair for pair in asked if pair[0] not in pinned and f"\n{pair[0]}==" not in cuda]


def applies(requirement: Requirement, platform: str, python: str) -> bool:
    """Whether it holds without extras on CPython there."""
    environment = {
        "extra": "",
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": platform,
    }
    environment |= {
        "platform_system": platform.capitalize(),
        "platform_machine": "arm64" if platform == "darwin" else "x86_64",
    }
    return requirement.marker is None or requirement.marker.evaluate(environment)
