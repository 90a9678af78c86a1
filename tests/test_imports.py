"""No circle of imports: between modules, and between the sub-packages of any package.

The graph is read from the source. Imports inside functions count as well; those under `if TYPE_CHECKING` are left out,
since they are never executed.
An import of a name from a package counts as an import of that package's `__init__`, one of a module as that of the
module alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sparring

ROOT = Path(sparring.__file__).parent
Graph = dict[str, set[str]]


def module_name(path: Path) -> str:
    parts = ["sparring", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_name(path): path for path in ROOT.rglob("*.py")}


def executed_imports(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that are ever executed, inside functions as well."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.dump(node.test):
                yield from executed_imports(node.body)
            yield from executed_imports(node.orelse)
        elif isinstance(node, ast.Try | ast.With | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from executed_imports(node.body)


def imported(module: str, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The modules of this package that the statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in PATHS)
        return
    base = node.module or ""
    if node.level:
        package = module.split(".") if PATHS[module].name == "__init__.py" else module.split(".")[:-1]
        base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
    for alias in node.names:
        found = f"{base}.{alias.name}" if f"{base}.{alias.name}" in PATHS else base
        if found in PATHS:
            yield found


def module_graph() -> Graph:
    """For each module those that it imports."""
    graph: Graph = {}
    for module, path in PATHS.items():
        nodes = executed_imports(ast.parse(path.read_text(encoding="utf-8")).body)
        graph[module] = {found for node in nodes for found in imported(module, node)} - {module}
    return graph


def child_graph(package: str, modules: Graph) -> Graph:
    """For each module and sub-package of a package those beside it that it imports."""

    def child(module: str) -> str | None:
        inside = module.startswith(f"{package}.")
        return ".".join(module.split(".")[: package.count(".") + 2]) if inside else None

    graph: Graph = {}
    for module, found in modules.items():
        own = child(module)
        if own is not None:
            graph.setdefault(own, set()).update(
                other for one in found if (other := child(one)) is not None and other != own
            )
    return graph


def circle(graph: Graph) -> list[str]:
    """One circle in the graph; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


MODULES = module_graph()
PACKAGES = sorted(name for name, path in PATHS.items() if path.name == "__init__.py")


def test_no_module_imports_itself_through_others():
    assert circle(MODULES) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_sub_package_imports_itself_through_its_neighbours(package):
    assert circle(child_graph(package, MODULES)) == []


def test_a_circle_is_found():
    graph = {"p": set(), "p.a.x": {"p.b.y"}, "p.b.y": set(), "p.b.z": {"p.a.w"}, "p.a.w": set()}
    assert circle(graph) == []
    assert set(circle(child_graph("p", graph))) == {"p.a", "p.b"}
    assert len(MODULES) > 300
    assert "sparring.errors" in MODULES["sparring.access.oracle"] | MODULES["sparring.access.ledger"]
