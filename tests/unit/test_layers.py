"""Imports point one way, and every library has its owner."""

import ast
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2]
LAYERS = [
    {"pruner", "pruner.errors", "pruner.lines", "pruner.typed"},
    {"pruner.traces", "pruner.lease", "pruner.files", "pruner.schemas"},
    {"pruner.answers.extraction", "pruner.answers.latex", "pruner.answers.readings", "pruner.answers.expressions"},
    {"pruner.answers.values", "pruner.answers.structure", "pruner.answers.units"},
    {"pruner.answers.items"},
    {"pruner.answers.equations"},
    {"pruner.answers.keys"},
    {"pruner.answers", "pruner.answers.grading"},
    {"pruner.answers.worker", "pruner.answers.reader"},
    {
        "pruner.prefix",
        "pruner.voting",
        "pruner.clustering",
        "pruner.confidence",
        "pruner.planning",
        "pruner.config",
        "pruner.config.section",
        "pruner.config.methods",
        "pruner.config.judges",
        "pruner.config.samplers",
        "pruner.config.model",
        "pruner.config.job",
        "pruner.config.identity",
    },
    {
        "pruner.methods",
        "pruner.methods.adaptive",
        "pruner.methods.base",
        "pruner.methods.cons",
        "pruner.methods.deepconf_offline",
        "pruner.methods.deepconf_online",
        "pruner.methods.deepprune",
        "pruner.methods.esc",
        "pruner.methods.waves",
        "pruner.methods.in_waves",
        "pruner.samplers",
    },
    {"pruner.samplers.base", "pruner.prompts", "pruner.columns"},
    {"pruner.weights", "pruner.problems", "pruner.comparison", "pruner.frontier", "pruner.run_tables", "pruner.tables"},
    {"pruner.replay"},
    {
        "pruner.judges",
        "pruner.judges.base",
        "pruner.judges.card",
        "pruner.judges.lexical",
        "pruner.judges.llm",
        "pruner.judges.oracle",
        "pruner.judges.pair_prompt",
        "pruner.judges.probe",
        "pruner.judges.reading",
        "pruner.judges.recorded",
    },
    {"pruner.case", "pruner.pairs"},
    {"pruner.accounting", "pruner.fact_rows", "pruner.checkpoint_file", "pruner.importing"},
    {
        "pruner.samplers.vllm",
        "pruner.samplers.process",
        "pruner.samplers.replay",
        "pruner.open_facts",
        "pruner.samplers.simulated",
        "pruner.store",
    },
    {"pruner.results", "pruner.runner", "pruner.summary", "pruner.named_queries"},
    {"pruner.progress", "pruner.ownership", "pruner.querying", "pruner.recorded", "pruner.comparison_plot"},
    {"pruner.auditing", "pruner.exporting", "pruner.manifest"},
    {
        "pruner.reporting",
        "pruner.reporting.canvas",
        "pruner.reporting.figures",
        "pruner.reporting.gather",
        "pruner.reporting.page",
        "pruner.reporting.payload",
        "pruner.reporting.timeline",
        "pruner.reporting.timeline_figure",
    },
    {
        "pruner.learning",
        "pruner.learning.config",
        "pruner.learning.floors",
        "pruner.learning.focal",
        "pruner.learning.generative",
        "pruner.learning.lexical",
        "pruner.learning.lexical_weights",
        "pruner.learning.metrics",
        "pruner.learning.plots",
        "pruner.learning.scoring",
        "pruner.learning.tables",
    },
]
OWNERS = {
    "vllm": {"pruner.samplers.vllm"},
    "duckdb": {"pruner.checkpoint_file", "pruner.store", "pruner.querying"},
    "transformers": {"pruner.prompts", "pruner.learning.generative", "jobs.prepare_model"},
    "tqdm": {"pruner.progress"},
    "pydantic": {
        "pruner.config.section",
        "pruner.config.methods",
        "pruner.config.judges",
        "pruner.config.samplers",
        "pruner.config.model",
        "pruner.config.job",
        "pruner.recorded",
        "pruner.judges.card",
        "pruner.learning.config",
    },
    "peft": {"pruner.learning.generative"},
    "matplotlib": {"pruner.learning.plots", "pruner.reporting.canvas", "pruner.comparison_plot"},
    "jinja2": {"pruner.reporting.page"},
    "sklearn": {"pruner.learning.metrics", "pruner.learning.floors"},
    "sentence_transformers": {"pruner.learning.floors"},
    "math_verify": {"pruner.answers.grading"},
    "mpmath": {"pruner.answers.values"},
    "multiprocessing": {"pruner.samplers.process"},
}


def modules():
    for path in sorted([*(PROJECT / "pruner").rglob("*.py"), *(PROJECT / "jobs").rglob("*.py")]):
        name = ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        yield name, imports(ast.parse(path.read_text()))


def imports(tree):
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_every_module_has_a_layer_and_imports_only_from_below_or_beside():
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    for name, found in modules():
        if name.startswith("jobs"):
            continue
        assert name in level, f"{name} has no layer"
        for other in found:
            if other.startswith("pruner"):
                assert level[other] <= level[name], f"{name} imports {other} from above"
            assert not other.startswith("jobs"), f"{name} imports a job"


def test_every_library_is_touched_by_its_owners_only():
    for name, found in modules():
        for library, owners in OWNERS.items():
            if any(other == library or other.startswith(library + ".") for other in found):
                assert name in owners, f"{name} imports {library}; its owners are {sorted(owners)}"


def test_hydra_and_slurm_are_read_by_jobs_only():
    for path in (PROJECT / "pruner").rglob("*.py"):
        text = path.read_text()
        assert (
            "omegaconf" not in text
            and "import hydra" not in text
            and "SLURM_" not in text.replace("SLURM_RESTART_COUNT", "")
        )


def test_every_package_is_installed():
    listed = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [
        path.parent.relative_to(PROJECT) for top in ("jobs", "pruner") for path in PROJECT.glob(f"{top}/**/__init__.py")
    ]
    assert sorted(listed) == sorted(".".join(path.parts) for path in found)
