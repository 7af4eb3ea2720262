"""What is built and shipped is all there, and speaks of the project alone."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def build() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        settings: dict[str, Any] = tomllib.load(file)["tool"]["setuptools"]
    return settings


def tracked(*patterns: str) -> list[Path]:
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z", *patterns]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


# ------------------------------------------------------------ packages


def test_every_package_is_listed(build: dict[str, Any]) -> None:
    directories = {Path(path): name for name, path in build["package-dir"].items()}
    found = set()
    for init in tracked("vnetx/*", "bpf/*", "cli/*", "perf/*"):
        if init.name != "__init__.py":
            continue
        path = init.parent.relative_to(ROOT)
        found.add(directories.get(path, ".".join(path.parts)))
    assert found == set(build["packages"])


def test_every_module_is_in_a_package(build: dict[str, Any]) -> None:
    directories = build["package-dir"]
    paths = {ROOT / directories.get(name, name.replace(".", "/")) for name in build["packages"]}
    modules = tracked("vnetx/*.py", "cli/*.py", "perf/*.py")
    assert [module for module in modules if module.parent not in paths] == []


def test_every_extension_is_built(build: dict[str, Any]) -> None:
    sources = {
        source
        for each in build["ext-modules"]
        for source in each["sources"]
        if source.endswith(".pyx")
    }
    assert {str(path.relative_to(ROOT)) for path in tracked("cython/*.pyx")} == sources
    for each in build["ext-modules"]:
        stem = each["name"].removeprefix("vnetx.")
        assert each["sources"] == [f"cython/{stem}.pyx"]
        assert (ROOT / "vnetx" / f"{stem}.pyi").exists()


def test_cython_is_no_package() -> None:
    assert not (ROOT / "cython" / "__init__.py").exists(), "it would shadow Cython's own module"


def test_the_data_plane_is_shipped(build: dict[str, Any]) -> None:
    patterns = build["package-data"]["vnetx.bpf"]
    shipped = {path for pattern in patterns for path in (ROOT / "bpf").glob(pattern)}
    assert set(tracked("bpf/*.c", "bpf/*.h")) <= shipped


# ------------------------------------------------------------ locks


def _pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    pins = (line.split("#")[0].strip() for line in lines)
    return dict(pin.split("==") for pin in pins if pin and not pin.startswith("-"))


def test_every_dependency_is_pinned() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    wanted = {
        re.split(r"[=<>~! ]", each)[0].lower()
        for each in (*project["project"]["dependencies"], *project["dependency-groups"]["dev"])
    }
    pinned = {**_pins("requirements.lock"), **_pins("requirements-dev.lock")}
    assert wanted <= {name.lower() for name in pinned}


# ------------------------------------------------------------ of the project alone

#: What belongs to one machine or one network: home and checkout directories, package mirrors.
_FOREIGN = re.compile(
    r"/(?:home|root(?!/run)|work|workspace|Users)/[\w.]"
    r"|/opt/[a-z]+-[a-z]+/"
    r"|--(?:extra-)?index-url|https?://[\w.-]*(?:pypi|artifactory|nexus|mirror)[\w.-]*"
)


def test_no_machine_paths_and_registries() -> None:
    wrong = []
    for path in tracked():
        if path == Path(__file__).resolve():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if found := _FOREIGN.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {found[0]}")
    assert wrong == []


def test_licences() -> None:
    """bpf/ has the kernel's; the header that both sides read has both."""
    for path in tracked("bpf/*.c", "bpf/*.h"):
        first = path.read_text().splitlines()[0]
        assert "SPDX-License-Identifier: GPL-2.0" in first, path
    assert "OR Apache-2.0" in (ROOT / "bpf/include/vnetx/abi.h").read_text().splitlines()[0]
    for name in ("LICENSE", "bpf/LICENSE"):
        assert (ROOT / name).exists()
