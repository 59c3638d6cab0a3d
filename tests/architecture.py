"""The house in figures: ``python tests/architecture.py [ROOT ...]``, a column for each checkout.

What one call enters is counted in a process of its own, with everything imported before, so that
calls alone count: see ``CALLS`` and ``CLICK``.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "medgan_widgets"
PREPARE = """
import importlib, json, logging, os, pkgutil, sys, tempfile, threading, time
from pathlib import Path
import numpy as np
from PIL import Image
home = Path(tempfile.mkdtemp()); os.chdir(home)
os.environ.update(MEDGAN_HOME=str(home / "home"), MEDGAN_UNATTENDED="1")
logging.disable(logging.CRITICAL)
import medgan_widgets as mw
root = str(Path(mw.__file__).parent)
os.mkdir("data")
rng = np.random.default_rng(0)
rows = ["file_name,label,patient"]
for k in range(60):
    Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(f"data/{k:02}.png")
    rows.append(f"{k:02}.png,{k % 2},P{k // 3}")
Path("data/metadata.csv").write_text("\\n".join(rows))
for module in pkgutil.walk_packages(mw.__path__, "medgan_widgets."):
    if not {"__main__", "worker", "hosted", "warm", "runner"} & set(module.name.split(".")):
        try:
            importlib.import_module(module.name)
        except ImportError:
            pass
counting, functions, edges = False, set(), set()
def ours(frame):
    code = frame.f_code
    if code.co_filename.startswith(root) and code.co_name != "<module>":
        return code.co_filename[len(root) + 1:], code.co_qualname
def on_call(frame, event, _):
    if counting and event == "call" and (callee := ours(frame)):
        functions.add(callee)
        caller = frame.f_back and ours(frame.f_back)
        if caller and caller[0] != callee[0]:
            edges.add((caller, callee))
threading.setprofile(on_call); sys.setprofile(on_call)
"""
RUN = (
    "for _ in mw.train('runs/one', data='data', labels='label', group='patient', size=32,"
    " kimg=0.3, tick_kimg=0.1): pass\n"
)
CALLS = {  # name: (what comes before, the call itself)
    "generate": (
        "",
        "mw.Engine(device='cpu').images(mw.GenerateRequest('phantom-mammogram', seeds=range(4)))",
    ),
    "score": (
        "",
        "mw.score(mw.GenerateRequest('phantom-mammogram', seeds=range(40)), real='data',"
        " metrics=['fd', 'kid'], n=40)",
    ),
    "export": (
        "",
        "mw.export(mw.GenerateRequest('phantom-mammogram', seeds=range(4)), 'out', format='png')",
    ),
    "train": ("", RUN),
    "make_model": (
        RUN,
        "mw.make_model('runs/one', 'one', modality='OT', organ='other', licence='MIT')",
    ),
}
CLICK = (  # the second click on Generate in the Studio: the model is warm, the page confirms frames
    """
studio = mw.Studio("phantom-mammogram")
grid, done = studio.grid, []
def catch(content, buffers=None):
    if content["kind"] == "frame":
        grid.canvas._handle_custom_msg({"kind": "painted", "frame": content["frame"]}, [])
        if content["state"] == "done":
            done.append(content)
grid.canvas.send = catch
grid.canvas._handle_custom_msg({"kind": "hello", "id": 0, "have": []}, [])
def click():
    count = len(done)
    grid.canvas._handle_custom_msg({"id": "1", "kind": "generate", "model": "phantom-mammogram",
        "images": "16", "seed": "7", "condition": {}, "psi": None}, [])
    while len(done) == count:
        time.sleep(0.01)
    time.sleep(0.5)
click()
""",
    "click()",
)
SAY = '\ncounting = False\nprint("@" + json.dumps([len({f for f, _ in functions}),'
SAY += " len(functions), len(edges)]))"


def walk(root: Path, before: str, call: str) -> list[int]:
    """Return how many files, functions and calls between two files one call takes."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(f"{PREPARE}{before}\ncounting = True\n{call}{SAY}")
        script.flush()
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, script.name], capture_output=True, text=True, env=environment
        )
    answers = [line[1:] for line in done.stdout.splitlines() if line.startswith("@")]
    if not answers:
        raise RuntimeError(done.stderr)
    counted: list[int] = json.loads(answers[-1])
    return counted


def modules(root: Path) -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return what each module imports of the package when it is itself imported."""
    graph: dict[str, set[str]] = {}
    for name, tree in trees.items():
        graph[name] = set()
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module and name != PACKAGE:
                full = [f"{node.module}.{alias.name}" for alias in node.names]
                graph[name] |= {f if f in trees else node.module for f in full} & set(trees)
    return graph


def deepest(graph: dict[str, set[str]]) -> int:
    """Return the length of the longest chain of imports; a circle is gone through once."""
    depths: dict[str, int] = {}

    def depth(name: str, above: tuple[str, ...]) -> int:
        if name not in depths:
            below = graph[name] - {*above, name}
            depths[name] = 1 + max((depth(one, (*above, name)) for one in below), default=0)
        return depths[name]

    return max(depth(name, ()) for name in graph)


def circles(trees: dict[str, ast.Module]) -> int:
    """Return how many pairs of packages import each other, wherever in a file they do so."""
    pairs = set()
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
                pairs.add((f"{name}.".split(".")[1], node.module.split(".")[1]))
    return sum((b, a) in pairs for a, b in pairs if a < b and a)


def lengths(tree: ast.Module) -> Iterator[int]:
    """Yield the lines of each function, its docstring left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = ast.get_docstring(node, clean=False) is not None
            said = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            yield (node.end_lineno or 0) - node.lineno + 1 - said


def code_and_comments(source: str) -> tuple[int, int]:
    """Return the lines that hold code or docstrings, and the lines that are comments alone."""
    code, comments = set(), set()
    skipped = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in skipped:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code), len(comments - code)


def middle_and_p90(values: list[int]) -> str:
    """Return the median and the 90th percentile as "12, 34"."""
    return f"{statistics.median(values):.0f}, {statistics.quantiles(values, n=10)[-1]:.0f}"


def figures(root: Path) -> dict[str, object]:
    """Return every figure of one checkout, in the order of the table."""
    files = modules(root)
    sources = {name: path.read_text("utf-8") for name, path in files.items()}
    trees = {name: ast.parse(source) for name, source in sources.items()}
    lines = {name: len(source.splitlines()) for name, source in sources.items()}
    parts: dict[str, int] = {}
    for name, path in files.items():
        part = path.relative_to(root / PACKAGE).parts[0].removesuffix(".py")
        parts[part] = parts.get(part, 0) + lines[name]
    page = [*(root / PACKAGE).rglob("*.js"), *(root / PACKAGE).rglob("*.css")]
    apart = {"benchmarks", "gpu", "packages"}
    tests = [p for p in (root / "tests").rglob("*.py") if not apart & set(p.parts)]
    counts = [code_and_comments(source) for source in sources.values()]
    text = "\n".join(source for name, source in sources.items() if not name.endswith(".jobs"))
    whole = "\n".join(sources.values())
    comments = sum(lone for _, lone in counts) / sum(lines for lines, _ in counts)
    rows: dict[str, object] = {
        "lines of Python": sum(lines.values()),
        "files": len(files),
        "lines of JS and CSS": sum(len(p.read_text("utf-8").splitlines()) for p in page),
        "lines of tests": sum(len(p.read_text("utf-8").splitlines()) for p in tests),
        "lines of a file: median, p90": middle_and_p90(list(lines.values())),
        "lines of a function: median, p90": middle_and_p90(
            [length for tree in trees.values() for length in lengths(tree)]
        ),
        "functions": sum(1 for tree in trees.values() for _ in lengths(tree)),
        "classes": sum(isinstance(n, ast.ClassDef) for t in trees.values() for n in ast.walk(t)),
        "comment lines for 100 of code": f"{100 * comments:.1f}",
        "deepest import chain": deepest(imports(trees)),
        "packages that import each other": circles(trees),
        "threads started outside jobs": len(re.findall(r"\b(?:Thread|Timer|Executor)\(", text)),
        "readers of MEDGAN_HOME": len(re.findall(r"environ.*MEDGAN_HOME", whole)),
        "ways to hash a file": len(re.findall(r"file_digest\(|sha256\([^)]*read_bytes", whole)),
    }
    for name, (before, call) in CALLS.items():
        entered, ran, _ = walk(root, before, call)
        rows[f"{name}: files, functions"] = f"{entered}, {ran}"
    entered, ran, hops = walk(root, *CLICK)
    rows["a click on Generate: files, functions, hops"] = f"{entered}, {ran}, {hops}"
    for part, count in sorted(parts.items()):
        rows[f"lines of {part}"] = count
    return rows


def main() -> None:
    roots = [Path(name).resolve() for name in sys.argv[1:]] or [Path(__file__).parents[1]]
    columns = [figures(root) for root in roots]
    names = list(dict.fromkeys(name for column in columns for name in column))
    print("| | " + " | ".join(root.name for root in roots) + " |")
    print("|---" * (len(roots) + 1) + "|")
    for name in names:
        print(f"| {name} | " + " | ".join(str(column.get(name, "")) for column in columns) + " |")


if __name__ == "__main__":
    main()
