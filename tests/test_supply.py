"""What builds, tests and publishes is pinned: actions, the container, uv, the build, every library."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import fastjsonschema
import pytest
import yaml
from packaging import tags
from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = {(p["name"], p["version"]): p for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
OWN = (PROJECT["project"]["name"], PROJECT["project"]["version"])
SCRIPTS = [ROOT / "Makefile", *(ROOT / ".ci").iterdir(), *ROOT.glob(".github/workflows/*")]
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in ROOT.glob(".github/workflows/*.yml")}
JOBS = [(f"{file}:{name}", job) for file, workflow in WORKFLOWS.items() for name, job in workflow["jobs"].items()]
STEPS = [(name, step) for name, job in JOBS for step in job["steps"]]


# Workflows


def test_actions_are_pinned_by_commit_and_say_their_version():
    lines = [line for path in ROOT.glob(".github/workflows/*") for line in path.read_text().splitlines()]
    uses = {re.sub(r".*uses:\s*", "", line) for line in lines if re.search(r"\buses:", line)}
    assert len(uses) == 5
    for use in uses:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use), use
    assert len({use.partition("@")[0] for use in uses}) == len(uses)


def test_containers_are_pinned_by_digest():
    images = [job["container"] for _, job in JOBS if "container" in job]
    assert images
    for image in images:
        assert re.fullmatch(r"debian:bookworm-\d{8}@sha256:[0-9a-f]{64}", image)


def test_workflows_may_do_what_they_must_and_no_more():
    writes = {name: job["permissions"] for name, job in JOBS if "permissions" in job}
    assert writes == {"docs.yml:publish": {"pages": "write", "id-token": "write"}}
    for file, workflow in WORKFLOWS.items():
        assert workflow["permissions"] == {"contents": "read"}, file
        assert {*workflow[True]} <= {"push", "pull_request", "schedule", "workflow_dispatch"}, file  # "on" in YAML 1.1
    for name, step in STEPS:
        assert "${{" not in step.get("run", ""), f"{name}: text from elsewhere would become part of a command"
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False, name


def test_known_vulnerabilities_are_looked_for_every_week_for_the_first_and_the_last_python():
    workflow = WORKFLOWS["dependencies.yml"]
    assert re.fullmatch(r"\d+ \d+ \* \* \d", workflow[True]["schedule"][0]["cron"])
    pythons = WORKFLOWS["tests.yml"]["jobs"]["versions"]["strategy"]["matrix"]["python"]
    assert workflow["jobs"]["audit"]["strategy"]["matrix"]["python"] == [pythons[0], pythons[-1]]
    assert "audit-deps" not in str(WORKFLOWS["tests.yml"])


def test_what_is_pinned_is_moved_by_pull_requests():
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    moved = {(update["package-ecosystem"], update["directory"]) for update in updates}
    assert moved == {("github-actions", "/"), ("uv", "/"), ("pip", "/.ci")}
    assert {update["schedule"]["interval"] for update in updates} == {"weekly"}


# What is installed


def commands():
    """Every line of commands that a machine runs on its own, with the Makefile's variables put in."""
    sync = re.search(r"^SYNC = (.*)$", (ROOT / "Makefile").read_text(), re.M).group(1)
    for path in SCRIPTS:
        text = path.read_text().replace("$(SYNC)", sync).replace("\\\n", " ")
        yield from ((path.name, line.strip()) for line in text.splitlines() if not line.lstrip().startswith("#"))


def test_nothing_is_installed_without_its_hash():
    found = {"pip": 0, "uv": 0}
    for name, line in commands():
        if re.search(r"\bpip3? (install|download|wheel)\b", line):
            assert "--require-hashes --only-binary :all:" in line, (name, line)
            found["pip"] += 1
        for command in re.findall(r'\buv"? ([a-z]+)', line):
            assert command in ("sync", "run", "export"), (name, line)
            assert "--frozen" in line, (name, line)
            found["uv"] += 1
        assert not re.search(r"\b(uvx|pipx|npx|npm|conda|curl|wget|easy_install)\b", line), (name, line)
    assert found == {"pip": 1, "uv": 6}


def test_uv_is_pinned_by_the_hash_of_each_of_its_wheels():
    lines = (ROOT / ".ci" / "uv.txt").read_text().replace("\\\n", "").splitlines()
    [words] = [shlex.split(line) for line in lines if not line.startswith("#")]
    requirement, *hashes = words
    assert re.fullmatch(r"uv==\d+\.\d+\.\d+", requirement)
    assert len(set(hashes)) == len(hashes) >= 15
    assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", text) for text in hashes)


def test_what_builds_the_project_is_locked():
    group = {Requirement(entry).name for entry in PROJECT["dependency-groups"]["build"]}
    assert {Requirement(entry).name for entry in PROJECT["build-system"]["requires"]} | {"editables"} == group
    makefile = (ROOT / "Makefile").read_text()
    assert f"--no-build-isolation-package {OWN[0]} --extra all --group build" in makefile


def test_everything_locked_comes_from_the_index():
    sources = {tuple(package["source"].items()) for package in LOCK.values()}
    assert sources == {(("editable", "."),), (("registry", "https://pypi.org/simple"),)}


def machine(python, system):
    """What wheels' names say of those that a Python runs on a system, with Debian 12's glibc or macOS 15."""
    name, processor = system.split()
    if name == "macOS":
        platforms = [*tags.mac_platforms((15, 0), processor)]
    else:
        platforms = [f"manylinux{form}_{processor}" for form in (1, 2010, 2014, *(f"_2_{n}" for n in range(5, 37)))]
    return {*tags.cpython_tags(python, platforms=platforms), *tags.compatible_tags(python, None, platforms)}


@pytest.mark.parametrize("system", ["Linux x86_64", "Linux aarch64", "macOS arm64", "macOS x86_64"])
def test_nothing_but_the_project_has_to_be_built(system):
    """Which would run what it is built with, unpinned; the Makefile forbids it but where one package has no wheel."""
    built = set()
    for classifier in PROJECT["project"]["classifiers"]:
        if match := re.search(r"Python :: 3\.(\d+)$", classifier):
            here, wheels = machine((3, int(match.group(1))), system), {}
            for (name, _), package in LOCK.items():
                names = (wheel["url"].rpartition("/")[2] for wheel in package.get("wheels", ()))
                wheels[name] = wheels.get(name, False) or any(parse_wheel_filename(file)[3] & here for file in names)
            built |= {name for name, found in wheels.items() if not found}
    windows = {"pywinpty"}
    assert built - windows == {OWN[0]} | ({"argon2-cffi-bindings"} if system == "macOS x86_64" else set())


def test_nothing_calls_out():
    """The package has no client of the network: it only listens, and connects to the scheduler that it is given."""
    clients = {"aiohttp", "ftplib", "http", "httpx", "requests", "smtplib", "urllib", "urllib3", "websockets"}
    for path in (ROOT / "workbench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            found = {name for name in names if name.partition(".")[0] in clients} - {"urllib.parse"}
            assert not found, path
    lab = re.search("^\t.*jupyter lab .*$", (ROOT / "Makefile").read_text(), re.M).group()
    assert "--LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate" in lab


# What is in it, and what is known of that


def installed_with(extra):
    """(name, version) of all that an extra brings, by the lock."""
    found, left = set(), [(*OWN, extra)]
    while left:
        name, version, *extras = left.pop()
        versions = [key for key in LOCK if key[0] == name and version in (None, key[1])]
        for key in versions:
            listed = [LOCK[key].get("dependencies", [])] if (key not in found) else []
            found.add(key)
            listed += [LOCK[key]["optional-dependencies"][extra] for extra in extras]
            left += [(d["name"], d.get("version"), *d.get("extra", ())) for part in listed for d in part]
    return found - {OWN}


@pytest.fixture(scope="module")
def bill(tmp_path_factory):
    """`make sbom`, twice."""
    pytest.importorskip("cyclonedx")
    place, written = tmp_path_factory.mktemp("bill"), []
    command = ["make", "-s", "-o", ".venv/.ready", "sbom", f"BIN={Path(sys.executable).parent}"]
    for name in "ab":
        subprocess.run([*command, f"DIST={place / name}"], cwd=ROOT, check=True)
        assert [path.name for path in (place / name).iterdir()] == ["sbom.cdx.json"]
        written.append((place / name / "sbom.cdx.json").read_text())
    return written


def test_the_bill_of_materials_is_of_the_form_that_it_claims(bill):
    schemas = files("cyclonedx.schema") / "_res"

    def read(name):
        return json.loads((schemas / name.rpartition("/")[2]).read_text())

    validate = fastjsonschema.compile(
        read("bom-1.5.SNAPSHOT.schema.json"), handlers={"http": read, "https": read}, formats={}
    )
    document = json.loads(bill[0])
    validate(document)
    document["components"][-1]["type"] = "book"
    with pytest.raises(fastjsonschema.JsonSchemaException, match="type must be one of"):
        validate(document)


def test_the_bill_of_materials_is_the_lock(bill):
    text, again = bill
    assert text == again
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    component = document["metadata"]["component"]
    assert (component["name"], component["version"]) == OWN
    listed = {(part["name"], part["version"]): part for part in document["components"]}
    assert listed.keys() == installed_with("all")
    for (name, number), part in listed.items():
        assert part["purl"] == f"pkg:pypi/{name}@{number}"
        locked = [*LOCK[name, number]["wheels"], *filter(None, [LOCK[name, number].get("sdist")])]
        hashes = {link["hashes"][0]["content"] for link in part["externalReferences"]}
        assert {f"sha256:{found}" for found in hashes} == {file["hash"] for file in locked}, name


AUDITS = {
    "none": ("", 0, 0, r"No known vulnerability in the 2 locked packages\n", ""),
    "some": ("jinja2 3.1.5 PYSEC-2026-1", 1, 1, r"jinja2 3\.1\.5 PYSEC-2026-1\n", ""),
    "no network": ("", 1, 2, "", r"workbench: nothing was checked, for want of the vulnerability database: no route\n"),
    "no lock": ("", 3, 2, "", "workbench: nothing was checked: the lock cannot be exported\n"),
}


@pytest.mark.parametrize("case", AUDITS)
def test_an_audit_that_checked_nothing_is_not_one_that_found_nothing(case, tmp_path):
    found, status, returned, output, error = AUDITS[case]
    place = tmp_path / ".ci"
    place.mkdir()
    shutil.copy(ROOT / ".ci" / "audit-deps", place)
    uv = tmp_path / "uv"
    uv.write_text(f"""#!/bin/sh
    if [ "$1" = export ]; then printf 'a==1\\nb-c==2.0 ; x\\n' >.cache/locked.txt; [ {status} != 3 ]; exit; fi
    printf '%s' '{found}'; [ {status} = 0 ] || echo 'no route' >&2; exit {status}
    """)
    uv.chmod(0o755)
    done = subprocess.run([place / "audit-deps"], env=os.environ | {"UV": str(uv)}, capture_output=True, text=True)
    assert done.returncode == returned
    assert re.fullmatch(output, done.stdout)
    assert re.fullmatch(error, done.stderr)


def test_an_audit_goes_through_all_that_is_locked_and_takes_nothing_on_trust():
    text = (ROOT / ".ci" / "audit-deps").read_text()
    for option in ("--all-extras --all-groups", "--require-hashes", "--strict", "--only-group audit"):
        assert option in text
    assert re.search("^audit-deps: .*\n\t@.ci/audit-deps$", (ROOT / "Makefile").read_text(), re.M)


def test_the_uv_that_runs_is_the_pinned_one():
    pytest.importorskip("uv")
    assert f"uv=={version('uv')} " in (ROOT / ".ci" / "uv.txt").read_text()
