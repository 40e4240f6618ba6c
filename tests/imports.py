"""Which modules of this project a module imports, directly and through others, read from the source."""

import ast
from pathlib import Path

PACKAGES = ("ragcun", "stages")


def transitive_imports(module: Path, root: Path) -> set[str]:
    """Paths, relative to `root`, of the project's modules that `module` (relative to `root`) needs; itself included."""
    seen: set[str] = set()
    waiting = [module.as_posix()]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting.extend(direct_imports(root / path, root))
    return seen


def direct_imports(file: Path, root: Path) -> set[str]:
    """Paths, relative to `root`, of the project's modules that `file` names in its imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports are not followed"
            # `from package import module` names a module, `from module import name` does not.
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] in PACKAGES:
                # Importing a module runs the packages above it.
                for length in range(1, len(parts) + 1):
                    found |= _files(Path(*parts[:length]), root)
    return found


def _files(module: Path, root: Path) -> set[str]:
    candidates = (module.with_suffix(".py"), module / "__init__.py")
    return {path.as_posix() for path in candidates if (root / path).is_file()}
