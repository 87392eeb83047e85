"""The house: floors, no circles, names, sizes, and nothing heavy at the door (docs/architecture.md)."""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "hyperarc"
FILES = sorted(SOURCE.rglob("*.py"))

# floor of every room and of every file that stands alone; a file imports from floors below its own, or from its room
FLOORS = {
    "errors": 0, "files": 0, "unfinished": 0, "geometry": 0, "registry": 0, "contract": 0, "recipe": 0,
    "recipes": 0, "report": 0, "metrics": 0, "parallel": 0, "onnx_session": 0,
    "margins": 1, "heads": 1, "backbones": 1, "faces": 1, "data": 1, "encoder": 1, "artifact": 1,
    "training": 2, "protocols": 2, "purification": 2, "inversion": 2,
    "commands": 3,
    "cli": 4, "__main__": 4, "__init__": 4,
}  # fmt: skip
LIGHT = ("margins", "heads", "backbones", "metrics", "inversion")  # need torch and numpy alone
BANNED = re.compile(r"(^|_)(utils?|common|helpers?|base|misc|core)(_|$)|_v\d+$")
WORK = ("training", "protocols", "purification", "inversion")


def module_of(file: Path) -> str:
    parts = ("hyperarc", *file.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(file: Path, *, at_top_only: bool = False) -> set[str]:
    """Dotted names that a file imports, without those for type checkers only."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if at_top_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        waiting += list(ast.iter_child_nodes(node))
    return found


MODULES = {module_of(file): file for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_imports_only_from_floors_below(file: Path) -> None:
    room = room_of(module_of(file))
    assert room in FLOORS, f"give {room} a floor in FLOORS and in docs/architecture.md"
    for name in imports_of(file):
        if not name.startswith("hyperarc.") or name not in MODULES:
            continue
        other = room_of(name)
        if other != room:
            allowed = FLOORS[other] < FLOORS[room] or (
                FLOORS[other] == FLOORS[room] and room not in WORK and room != "commands"
            )
            assert allowed, f"{file} (floor {FLOORS[room]}) imports {name} (floor {FLOORS[other]})"


def test_no_circles() -> None:
    graph = {m: {n for n in imports_of(f) if n in MODULES and n != m} for m, f in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_names_and_sizes(file: Path) -> None:
    for part in file.relative_to(SOURCE).with_suffix("").parts:
        assert part == "__init__" or not BANNED.search(part), f"{part} is a drawer's name"
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= 300, "aim: files under 300 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("__"):
            body = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
            lines = (node.end_lineno or 0) - (body[0].lineno if body else node.lineno) + 1
            assert lines <= 45, f"{file.name}:{node.name} has {lines} lines"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_nothing_unsafe(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "pickle.load", "pickle.loads", "os.system"}
            if called == "yaml.load":
                assert [ast.unparse(a) for a in node.args[1:]] == ["YamlLoader"], "a SafeLoader, and no other"
            if called == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)


@pytest.mark.parametrize("room", LIGHT)
def test_light_rooms_need_torch_and_numpy_alone(room: str) -> None:
    known = set(sys.stdlib_module_names) | {"torch", "numpy", "hyperarc", "triton"}  # torch for CUDA brings triton
    for file in (SOURCE / room).rglob("*.py"):
        foreign = {name.split(".")[0] for name in imports_of(file)} - known
        assert not foreign, f"{file} imports {foreign}"
    heavy = "('pydantic', 'pyarrow', 'PIL', 'yaml')"
    code = f"import sys, hyperarc.{room}; bad = [m for m in {heavy} if m in sys.modules]; assert not bad, bad"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_hyperarc_loads_nothing_heavy() -> None:
    code = "import sys, hyperarc; print([m for m in ('torch', 'numpy', 'pyarrow', 'matplotlib') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_help_answers_at_once() -> None:
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        out = subprocess.check_output([sys.executable, "-m", "hyperarc", "--help"], text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert "train" in out
    # processor seconds: other work on the machine must not fail the test
    assert min(seconds) < 0.5, seconds


def test_every_public_name_is_there() -> None:
    import hyperarc

    for name in hyperarc.__all__:
        assert getattr(hyperarc, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hyperarc.nothing
