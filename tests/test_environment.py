"""The two roads to an environment name the same dependencies; files that speak of the project agree."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import workbench as wb
from workbench import figures
from workbench.audit import claims
from workbench.audit.recompute import ARITHMETIC

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA_NAME = {"matplotlib": "matplotlib-base"}
PIP_ONLY = {  # checks of the source and of its lock, and what drives Debian's Chromium and looks at its pages
    "axe-playwright-python", "cyclonedx-python-lib", "mypy", "ruff", "pandas-stubs", "scipy-stubs", "types-pyyaml",
    "playwright",
}  # fmt: skip


def requirements():
    """Of the core, of its extras, and of the tests."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    groups = [PROJECT["project"]["dependencies"], *extras, PROJECT["dependency-groups"]["dev"]]
    return [entry for group in groups for entry in group if not entry.startswith(PROJECT["project"]["name"])]


def pip_requirements():
    listed = requirements()
    return {CONDA_NAME.get(r.name, r.name): r.specifier for r in map(Requirement, listed) if r.name not in PIP_ONLY}


def conda_requirements():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    found = dict(re.fullmatch(r"([\w.-]+?)([<>=].*)?", entry).groups() for entry in listed if isinstance(entry, str))
    return {name: SpecifierSet(spec or "") for name, spec in found.items()}


def test_environment_and_pyproject_name_the_same_versions():
    conda = conda_requirements()
    assert conda.pop("python") == SpecifierSet(PROJECT["project"]["requires-python"])
    assert conda.pop("pip") == SpecifierSet("")
    assert conda == pip_requirements()


def test_a_library_has_one_range_in_all_extras():
    listed = set(requirements())
    assert len(listed) == len({Requirement(entry).name for entry in listed})


def test_the_core_and_its_command_need_six_libraries_and_all_extras_are_in_all():
    core = {Requirement(entry).name for entry in PROJECT["project"]["dependencies"]}
    assert core == {"numpy", "pydantic", "pyyaml", "xarray"} | {"rich", "typer"}
    extras = PROJECT["project"]["optional-dependencies"]
    [everything] = extras.pop("all")
    assert Requirement(everything).extras == set(extras)


def test_conda_installs_this_very_project():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert {"pip": ["-e ."]} in listed


def test_the_lock_satisfies_the_requirements():
    lock = {p["name"]: p["version"] for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"] if "version" in p}
    for listed in requirements():
        requirement = Requirement(listed)
        assert requirement.specifier.contains(lock[requirement.name.lower()]), listed


def test_the_lock_pins_every_file_by_its_hash():
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    files = [file for p in packages for file in [*p.get("wheels", []), *([p["sdist"]] if "sdist" in p else [])]]
    assert len(files) > len(packages) > 100
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", file["hash"]) for file in files)
    own = [p["name"] for p in packages if "registry" not in p["source"]]
    assert own == ["roofline-workbench"]


def test_the_version_is_the_same_everywhere():
    version = PROJECT["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_module_and_notebook_is_named_in_the_readme_or_contributing():
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    for path in [*ROOT.glob("workbench/*.py"), *ROOT.glob("notebooks/*.ipynb")]:
        assert path.name.startswith("__") or path.name in text, path.name


def test_the_readme_counts_what_there_is(audited):
    text = (ROOT / "README.md").read_text()
    table = audited
    assert f"{len(table)} claims are recomputed" in text
    assert f"({table.quantity.isin(ARITHMETIC).sum()} are arithmetic" in text
    _, _, rows = text.partition("\n| verdict | claims |\n|---|---|\n")
    counts = {verdict: str((table.verdict == verdict).sum()) for verdict in get_args(claims.Verdict)}
    assert dict(re.findall(r"\| (.*) \| (\d+) \|\n", rows.partition("\n\n")[0] + "\n")) == counts
    charts = list(figures.find(ROOT).values())
    published, tables, measured, own = (len(found) for _, _, found in figures.parts(charts))
    assert (
        f"{len(charts)} charts, {published} that the sources print, {tables} of what the T4 report prints as tables and"
        f" prose, {measured} of predictions beside measurements and {own} of the workbench's own"
    ) in " ".join(text.split())
    assert f"{len(wb.gpus())} accelerators" in text
    assert f"{len(wb.models())} models" in text


def workflow(name):
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    return steps | {"on": steps[True]}  # YAML 1.1 reads "on" as a boolean


def test_the_workflows_run_on_pushes_and_pull_requests_and_end():
    for name in ("docs", "tests"):
        file = workflow(name)
        assert {"push", "pull_request"} <= file["on"].keys()
        assert all(job["timeout-minutes"] for job in file["jobs"].values())
        assert "github.ref" in file["concurrency"]["group"]


def test_the_workflow_of_the_tests_is_the_command_of_the_project():
    steps = workflow("tests")["jobs"]["test"]["steps"]
    assert {"run": ".ci/run"} in steps
    assert steps[-1]["with"]["path"] == "docs/_build/html"
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_workflow_tries_every_python_and_system_that_the_package_names():
    jobs = workflow("tests")["jobs"]
    matrix, classifiers = jobs["versions"]["strategy"]["matrix"], PROJECT["project"]["classifiers"]
    versions = [text.rpartition(" ")[2] for text in classifiers if re.search(r"Python :: 3\.\d", text)]
    assert matrix["python"] == versions
    assert f">={versions[0]}" == PROJECT["project"]["requires-python"]
    assert {"Operating System :: MacOS", "Operating System :: POSIX :: Linux"} <= set(classifiers)
    assert matrix["os"] == ["ubuntu-latest", "macos-latest"]
    assert [step["run"] for step in jobs["measure"]["steps"] if "run" in step] == [
        f"python -m workbench.measure {option}" for option in ("--help", "--dry-run")
    ]


def test_documentation_is_published_from_main_alone():
    jobs = workflow("docs")["jobs"]
    assert [name for name, job in jobs.items() if "deploy-pages" in str(job["steps"])] == ["publish"]
    assert jobs["publish"]["if"] == "github.ref == 'refs/heads/main'"
    assert jobs["publish"]["needs"] == "build"
