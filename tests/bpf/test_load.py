"""From sources to pinned maps and programs, and what is refused on the way."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lib.dataplane import TC_PASS, Dataplane
from lib.namespaces import Namespace
from lib.topology import wait_until
from vnetx import _abi, _bpf, state
from vnetx.datapath import build, load, pins
from vnetx.datapath.maps import CORE_PROGRAMS, SwitchMaps, entries_of
from vnetx.errors import VnetxError

pytestmark = pytest.mark.root

NAMES = [row["name"] for row in _abi.MAPS]
PROGRAMS = [row["name"] for row in _abi.PROGRAMS]
_ARRAY, _HASH = 2, 1


@pytest.fixture
def namespace(mounted: None) -> Iterator[Path]:  # noqa: ARG001 - in whose mount it is
    """A network namespace to be in; the directory of its switches."""
    there = Namespace()
    with there.entered():
        pins.mount()
        directory = pins.namespace_directory()
        directory.mkdir(parents=True, mode=0o700)
        yield directory
        pins.remove_tree(directory)
    there.close()


def instruction(opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, src << 4 | dst, off, imm)


EXIT = instruction(0x95)
#: Programs that let everything pass, and cost the verifier nothing.
IDLE = build.Build(1, {name: instruction(0xB7, imm=2) + EXIT for name in PROGRAMS})


def make(code: build.Build = IDLE) -> SwitchMaps:
    return SwitchMaps.create("sw", 64, 16, code)


def files(directory: Path) -> set[str]:
    return {str(p.relative_to(directory)) for p in directory.rglob("*")}


# ------------------------------------------------------------------ making a switch


def test_everything_is_pinned(namespace: Path) -> None:
    with make() as maps:
        maps.publish()
        assert pins.switch_names() == ["sw"]
        assert files(namespace / "sw") == {
            "links",
            "maps",
            "programs",
            *(f"maps/{name}" for name in NAMES),
            *(f"programs/{name}" for name in CORE_PROGRAMS),
        }
        maps.remove()
    assert not files(namespace)


def test_nothing_has_the_name_before_it_is_published(namespace: Path) -> None:
    with make() as maps:
        assert pins.switch_names() == []
        with pytest.raises(VnetxError, match="none of this name"):
            SwitchMaps.open("sw")
        maps.remove()
    assert not files(namespace)


def test_what_a_killed_command_left_is_no_obstacle(namespace: Path) -> None:
    with make():
        pass
    assert files(namespace)
    with make() as maps:
        maps.publish()
        assert pins.switch_names() == ["sw"]


@pytest.mark.parametrize("row", _abi.MAPS, ids=NAMES)
def test_layouts(plane: Dataplane, row: dict[str, int]) -> None:
    """What the kernel made is what the header says."""
    info = _bpf.map_info(plane.maps.fds[str(row["name"])])
    assert info["max_entries"] == entries_of(row, plane.fdb_size, plane.max_ports)
    for member in ("type", "key_size", "value_size"):
        assert info[member] == row[member]
    assert info["flags"] & row["flags"] == row["flags"]
    assert info["name"] == f"vx_{row['name']}"[:15]


@pytest.mark.parametrize("row", _abi.PROGRAMS, ids=PROGRAMS)
def test_programs(plane: Dataplane, row: dict[str, int]) -> None:
    with plane.maps.program(str(row["name"])) as fd:
        info = _bpf.prog_info(fd)
    assert info["type"] == row["type"]
    assert info["name"] == f"vnetx_{row['name']}"[:15]
    assert info["jited_len"] > 0


def test_programs_can_be_loaded_again(plane: Dataplane) -> None:
    """An upgrade replaces the programs of a switch that stands."""
    plane.maps.load_programs(build.build(), PROGRAMS)
    with plane.maps.program("tc_ingress") as fd:
        assert _bpf.prog_test_run(fd, bytes(60))[0] == TC_PASS


@pytest.mark.usefixtures("namespace")
def test_an_unused_switch_is_empty() -> None:
    with make() as maps:
        assert maps.ports() == {}
        assert maps.port_of() == {}
        assert maps.reasons() == {}
        assert maps.undo() == {}
        assert maps.meta()["name"] == ""


# ------------------------------------------------------------------ foreign and damaged pins


@pytest.mark.usefixtures("namespace")
def test_open() -> None:
    with make() as maps:
        maps.publish()
        maps.set_port_of(7, 3)
    with SwitchMaps.open("sw") as again:
        assert again.port_of() == {7: 3}


def test_one_that_goes_while_it_is_opened(namespace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks at all switches meanwhile sees none, and no damage."""
    with make() as maps:
        maps.publish()
    plain, left = _bpf.obj_get, [3]

    def get(path: str) -> int:
        left[0] -= 1
        if not left[0]:
            going = (namespace / "sw").rename(namespace / "sw~old")
            pins.remove_tree(going)
        return plain(path)

    monkeypatch.setattr(_bpf, "obj_get", get)
    assert state.switches() == []
    assert left[0] == 0
    with pytest.raises(VnetxError, match="there is none of this name"):
        state.switches(["sw"])


@pytest.mark.parametrize("name", ["ports", "fdb", "events", "tail", "fdb_clock"])
@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [(_ARRAY, 4, 72), (_HASH, 16, 16), (_HASH, 4, 4)],
    ids=["array 4/72", "hash 16/16", "hash 4/4"],
)
def test_a_map_of_another_layout_is_refused(
    namespace: Path, name: str, kind: int, key: int, value: int
) -> None:
    with make() as maps:
        maps.publish()
    path = namespace / "sw" / "maps" / name
    path.unlink()
    fd = _bpf.map_create(kind, key, value, 4, 0, "foreign")
    _bpf.obj_pin(fd, str(path))
    os.close(fd)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(VnetxError, match="not made by this version") as caught:
        SwitchMaps.open("sw")
    assert str(path) in str(caught.value)
    assert len(os.listdir("/proc/self/fd")) == before, "descriptors are closed"


@pytest.mark.parametrize("name", ["ports", "undo"])
def test_a_missing_map_is_damage(namespace: Path, name: str) -> None:
    with make() as maps:
        maps.publish()
    (namespace / "sw" / "maps" / name).unlink()
    with pytest.raises(VnetxError, match="damaged") as caught:
        SwitchMaps.open("sw")
    assert "--force" in caught.value.remedy


def test_a_program_pinned_as_a_map_is_refused(namespace: Path) -> None:
    with make() as maps:
        maps.publish()
        path = namespace / "sw" / "maps" / "ports"
        path.unlink()
        with maps.program("flood") as fd:
            _bpf.obj_pin(fd, str(path))
    with pytest.raises(VnetxError):
        SwitchMaps.open("sw")


@pytest.mark.usefixtures("namespace")
def test_an_unknown_switch() -> None:
    with pytest.raises(VnetxError, match="none of this name"):
        SwitchMaps.open("other")


# ------------------------------------------------------------------ the verifier


BROKEN = {
    "uninitialised": instruction(0xBF, 0, 3) + EXIT,
    "out of bounds": instruction(0x61, 0, 1, off=4000) + EXIT,
    "no exit": instruction(0xB7, 0, imm=1),
}


@pytest.mark.parametrize("code", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("program", CORE_PROGRAMS)
def test_a_refusal_brings_the_verifiers_words(namespace: Path, program: str, code: bytes) -> None:
    bad = replace(IDLE, programs={**IDLE.programs, program: code})
    with pytest.raises(VnetxError) as caught:
        make(code=bad)
    error = caught.value
    assert error.what == f"loading program {program}"
    assert error.detail, "the whole log"
    last = [line for line in error.detail.splitlines() if not line.startswith("processed")][-1]
    assert last in error.why, "the line that tells why"
    assert "-vv" in error.remedy
    assert not files(namespace), "nothing is left"


@pytest.mark.usefixtures("namespace")
def test_a_refusal_leaves_nothing_open() -> None:
    bad = replace(IDLE, programs={**IDLE.programs, "flood": EXIT})
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(VnetxError):
        make(code=bad)
    assert len(os.listdir("/proc/self/fd")) == before


def test_map_numbers_become_descriptors() -> None:
    code = (
        instruction(0x18, 2, 1, imm=3)
        + instruction(0)  # map 3
        + instruction(0x18, 3, 0, imm=3)
        + instruction(0)  # a constant
        + EXIT
    )
    done = load.with_maps(code, {3: 77})
    assert done == code.replace(instruction(0x18, 2, 1, imm=3), instruction(0x18, 2, 1, imm=77))


# ------------------------------------------------------------------ compiling


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the C sources that `build` compiles, and a cache of its own."""
    copy = tmp_path / "bpf"
    shutil.copytree(build.source_directory(), copy)
    monkeypatch.setattr(build, "source_directory", lambda: copy)
    monkeypatch.setenv("VNETX_CACHE_DIR", str(tmp_path / "cache"))
    forget_headers(monkeypatch)
    return copy


def forget_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an earlier compilation of this process had its headers."""
    monkeypatch.setenv("BCC_KERNEL_SOURCE", "")  # so that it is what it was, after the test
    monkeypatch.delenv("BCC_KERNEL_SOURCE")


def test_an_error_in_the_sources_is_told(sources: Path) -> None:
    (sources / "tc.c").write_text(
        (sources / "tc.c").read_text() + "\nint broken(void) { nonsense; }\n"
    )
    with pytest.raises(VnetxError, match="nonsense") as caught:
        build.build().code(CORE_PROGRAMS)
    assert "error:" in caught.value.detail


def test_a_missing_program_is_told(sources: Path) -> None:
    text = (sources / "xdp.c").read_text()
    (sources / "xdp.c").write_text(text.replace("vnetx_xdp(", "vnetx_other("))
    with pytest.raises(VnetxError, match=r"xdp\.c lacks the programs xdp$"):
        build.build().code(["xdp_generic"])


@pytest.mark.usefixtures("sources")
@pytest.mark.slow
def test_compiling_twice(tmp_path: Path) -> None:
    first = build.build()
    first.code(PROGRAMS)
    assert not build.uncompiled()
    shutil.rmtree(tmp_path / "cache")
    second = build.build()
    second.code(PROGRAMS)
    assert second == first


def test_only_what_is_wanted_is_compiled(sources: Path) -> None:
    others = dict.fromkeys(row["source"] for row in _abi.PROGRAMS)
    for name in CORE_PROGRAMS:
        others.pop(next(row["source"] for row in _abi.PROGRAMS if row["name"] == name), None)
    for other in others:
        (sources / other).write_text("nonsense")
    assert build.build().code(CORE_PROGRAMS).keys() == {*CORE_PROGRAMS}
    assert build.uncompiled() == list(others)


def children(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        tasks = Path(f"/proc/{process}/task").glob("*/children")
        return [int(child) for path in tasks for child in path.read_text().split()]
    return []


def test_a_compilation_ends_with_who_wants_it(tmp_path: Path) -> None:
    """A compiler that outlived a killed command would keep its lock from all others."""
    script = "from vnetx.datapath import build; build.build().code(['xdp'])"
    environment = {**os.environ, "VNETX_CACHE_DIR": str(tmp_path)}
    command = subprocess.Popen([sys.executable, "-c", script], env=environment)
    (compiler,) = wait_until(lambda: children(command.pid), "it compiles")
    command.kill()
    command.wait()
    wait_until(lambda: not Path(f"/proc/{compiler}").exists(), "the compiler has ended")


def test_the_cache(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.build()
    code = first.code(["xdp"])
    (stored,) = (tmp_path / "cache").iterdir()
    stamp = stored.stat().st_mtime_ns
    assert build.build().code(["xdp"]) == code
    assert stored.stat().st_mtime_ns == stamp
    stored.write_text("{")
    forget_headers(monkeypatch)
    assert build.build().code(["xdp"]) == code, "a damaged one is made anew"
    (sources / "lib" / "eth.h").write_text((sources / "lib" / "eth.h").read_text() + "\n")
    assert build.build().key != first.key, "other sources, another build"


def test_a_warm_start_does_without_bcc(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_headers(monkeypatch)
    build.build().code(PROGRAMS)
    script = (
        "import sys; from vnetx import _abi; from vnetx.datapath import build; "
        "build.build().code([row['name'] for row in _abi.PROGRAMS]); "
        "sys.exit('bcc' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
