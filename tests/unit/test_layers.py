"""Packages import in one direction, jobs are thin entries, and every library has its owners."""

import ast
import functools
from pathlib import Path

PROJECT = Path(__file__).parents[2]
# From the ground up: a package or a flat module imports only from earlier lines, or from beside it in its own line.
FLOORS = [
    {"errors", "system", "statistics"},
    {"settings"},
    {"records", "trackers"},
    {"answers", "rules"},
    {"prompts", "problems"},
    {"methods", "checkpoint", "default_model"},
    {"results"},
    {"recordings", "reporting"},
    {"samplers"},
    {"judges"},
    {"config"},
    {"shard"},
    {"simulation"},
    {"learning", "doctor", "comparison"},
]
# Who has a section of the configuration beside what it configures.
SECTIONS = {
    *("pruner.settings", "pruner.rules.prefix", "pruner.problems"),
    *("pruner.methods", "pruner.judges", "pruner.samplers", "pruner.config", "pruner.learning", "pruner.trackers"),
}
# What the entries in jobs/ share. No entry imports another one.
FRAME = {"jobs", "jobs.entry", "jobs.command", "jobs.compose", "jobs.signals", "jobs.streams"}
# Which packages or modules may import a library.
OWNERS = {
    "vllm": {"pruner.samplers.vllm"},
    "duckdb": {"pruner.checkpoint", "pruner.results.query"},
    "transformers": {"pruner.prompts", "pruner.learning.trainer", "pruner.default_model"},
    "tqdm": {"pruner.shard.display"},
    "pydantic": {*SECTIONS, "pruner.system.json_records"},
    "peft": {"pruner.learning.trainer"},
    "matplotlib": {"pruner.reporting.canvas", "pruner.comparison.plot"},
    "jinja2": {"pruner.reporting.page"},
    "sklearn": {"pruner.learning"},
    "math_verify": {"pruner.answers.grading"},
    "mpmath": {"pruner.answers.values"},
    "multiprocessing": {"pruner.samplers.engine_process", "pruner.samplers.process", "pruner.comparison.points"},
    "psutil": {"pruner.system.processes", "pruner.doctor"},
    "pickle": set(),
    "datasets": {"pruner.problems.sources"},
    "wandb": {"pruner.trackers.wandb"},
    "mlflow": {"pruner.trackers.mlflow"},
    "hydra": {"jobs"},
    "omegaconf": {"jobs"},
    "submitit": set(),
}


@functools.cache
def modules():
    paths = sorted([*(PROJECT / "pruner").rglob("*.py"), *(PROJECT / "jobs").rglob("*.py")])
    return [
        (".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"), path) for path in paths
    ]


NAMES = {name for name, _ in modules()}


@functools.cache
def imports(path):
    """Return the dotted names that a file imports, modules of ours by their full name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & NAMES
            found |= inside or {node.module}
    return frozenset(found)


def is_in(name, places):
    return any(name == place or name.startswith(place + ".") for place in places)


def test_packages_import_only_from_below_or_beside():
    floor = {f"pruner.{name}": number for number, names in enumerate(FLOORS) for name in names}
    for name, path in modules():
        if not name.startswith("pruner."):
            continue
        own = ".".join(name.split(".")[:2])
        assert own in floor, f"{own} has no floor: add it to FLOORS"
        for other in imports(path):
            assert not is_in(other, {"jobs"}), f"{name} imports a job"
            if other.startswith("pruner."):
                theirs = ".".join(other.split(".")[:2])
                assert floor[theirs] <= floor[own], f"{name} imports {other} from above"


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: imports(path) & NAMES - {name} for name, path in modules()}
    while leaves := {name for name, found in graph.items() if not found & graph.keys()}:
        graph = {name: found for name, found in graph.items() if name not in leaves}
    assert not graph, f"a circle among {sorted(graph)}"


def test_no_job_imports_another():
    for name, path in modules():
        if is_in(name, {"jobs"}) and name not in FRAME:
            for other in imports(path):
                assert not is_in(other, {"jobs"}) or other in FRAME, f"{name} imports {other}"


def test_every_library_is_imported_by_its_owners_only():
    for name, path in modules():
        for library, owners in OWNERS.items():
            if any(is_in(other, {library}) for other in imports(path)):
                assert is_in(name, owners), f"{name} imports {library}; its owners are {sorted(owners)}"


def test_the_environment_of_slurm_is_read_in_one_place():
    for name, path in modules():
        if 'environ.get("SLURM_' in path.read_text():
            assert name == "pruner.system.slurm", name


def test_every_package_says_what_is_in_it():
    for name, path in modules():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text())), f"{name}: its __init__.py has no docstring"
