"""docs/deploy/: the list of packages is what the program needs, and the Dockerfile, the manifest and Prometheus' file say what gatherd does."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import Gatherd
from harness.server import ROOT, Port

DEPLOY = ROOT / "docs/deploy"
USER = 10001  # of the image and of the pods


def packages() -> set[str]:
    lines = (DEPLOY / "packages.txt").read_text().splitlines()
    return {name for line in lines if (name := line.partition("#")[0].strip())}


# -- the packages --


def owners(libraries: list[str]) -> set[str]:
    """The packages that these files came with; dpkg may know them below /usr or not."""
    names = [library.removeprefix("/usr") for library in libraries]
    done = subprocess.run(["dpkg", "-S", *names, *(f"/usr{name}" for name in names)], capture_output=True, text=True, timeout=60)
    found = {path.removeprefix("/usr"): package.partition(":")[0] for package, _, path in (line.partition(": ") for line in done.stdout.splitlines())}
    assert not [name for name in names if name not in found], done.stderr
    return set(found.values())


@pytest.fixture(scope="module")
def libraries(program: Path) -> dict[str, str]:
    """What the program is loaded with: each library's file by its name."""
    if b"__asan_init" in program.read_bytes():
        pytest.skip("a sanitized program needs libraries of its own")
    done = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=60, check=True)
    return dict(re.findall(r"^\s*(\S+) => (/\S+)", done.stdout, re.MULTILINE))


def test_the_packages_are_those_of_the_libraries_that_the_program_names(program: Path, libraries: dict[str, str]):
    done = subprocess.run(["readelf", "--wide", "--dynamic", program], capture_output=True, text=True, timeout=60, check=True)
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", done.stdout)
    assert len(needed) > 10
    assert packages() == owners([libraries[name] for name in needed]) | {"ca-certificates"}


def test_they_bring_every_other_library(libraries: dict[str, str]):
    """Of all that is loaded, nothing is there by chance: the packages, and what those depend on."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${binary:Package}\t${Pre-Depends}, ${Depends}\n"], capture_output=True, text=True, timeout=60)
    needs: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        package, _, others = line.partition("\t")
        needs[package.partition(":")[0]] = set(re.findall(r"(?:^|[,|] )([a-z0-9][a-z0-9.+-]*)", others))
    reached, new = set(), packages()
    while new:
        reached |= new
        new = {other for package in new for other in needs.get(package, set())} - reached
    assert owners(list(libraries.values())) <= reached


# -- the image --


def instructions() -> list[tuple[str, str]]:
    text = "\n".join(line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    return [(word, rest.strip()) for line in text.replace("\\\n", " ").splitlines() if line for word, _, rest in [line.partition(" ")]]


def of(kind: str) -> list[str]:
    return [rest for word, rest in instructions() if word == kind]


def health_check() -> list[str]:
    return json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2])


def test_the_image_is_built_in_stages_and_runs_as_nobody_special():
    assert of("FROM") == ["debian:12-slim AS build", "debian:12-slim"]
    last = instructions()[max(i for i, (word, _) in enumerate(instructions()) if word == "FROM") :]
    assert ("USER", f"{USER}:{USER}") in last and not [rest for word, rest in last if word == "RUN" and "make" in rest]
    # The exec form: signals reach gatherd itself, and not a shell.
    assert json.loads(of("ENTRYPOINT")[0]) == ["/usr/bin/gatherd"]
    assert json.loads(of("CMD")[0]) == ["run", "-c", "/etc/gatherd/gatherd.yaml"]
    assert of("STOPSIGNAL") == ["SIGTERM"]


def test_what_it_copies_is_there():
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for rest in of("COPY"):
        source = shlex.split(rest)[-2]
        if "--from=" not in rest:
            assert (ROOT / source).exists() and source.partition("/")[0] not in ignored, source
    assert all((ROOT / name).exists() for name in ignored if name and name[0] not in "#." and name != "build")
    # What the sources are made of is not ignored.
    rooms = re.findall(r"^ROOMS *:= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
    assert not {*rooms, "include", "systemd", "docs", "examples"} & set(ignored)


def test_the_shell_of_its_steps_is_right():
    for step in of("RUN"):
        done = subprocess.run(["sh", "-n", "-c", step], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    assert "docs/deploy/packages.txt" in " ".join(of("RUN")) and "scripts/setup build" in of("RUN")


def test_its_health_check_tells_the_living_from_the_dead(gatherd):
    daemon: Gatherd = gatherd('endpoints: { "GET /x": { respond: 1 } }')
    nobody = Port()

    def check(port: int) -> int:
        command = [word.replace("127.0.0.1/8080", f"127.0.0.1/{port}") for word in health_check()]
        return subprocess.run(command, capture_output=True, timeout=60).returncode

    assert check(daemon.port) == 0
    assert check(nobody.number) != 0
    nobody.release()


# -- Kubernetes --


def manifests() -> dict[str, Any]:
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    assert all(document["apiVersion"] and document["metadata"]["name"].startswith("gatherd") for document in documents)
    return {f"{document['kind']}/{document['metadata']['name']}": document for document in documents}


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    return manifests()["Deployment/gatherd"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return only


def server() -> dict[str, Any]:
    return yaml.safe_load(manifests()["ConfigMap/gatherd"]["data"]["gatherd.yaml"])["server"]


def test_the_pods_have_a_right_configuration(program: Path, container: dict[str, Any], tmp_path: Path):
    """The one in the manifest, with the environment that it gives and the secret as a file."""
    secret = manifests()["Secret/gatherd"]["stringData"]
    env = {one["name"]: one.get("value") or secret[one["valueFrom"]["secretKeyRef"]["key"]] for one in container["env"]}
    text = manifests()["ConfigMap/gatherd"]["data"]["gatherd.yaml"]
    runtime = env.pop("RUNTIME_DIRECTORY")
    assert set(re.findall(r"\$\{(\w+)", text)) == set(env) and runtime in [one["mountPath"] for one in container["volumeMounts"]]
    (volume,) = (one for one in container["volumeMounts"] if one["name"] == "secrets")
    assert f"{volume['mountPath']}/shop_password" in text
    (tmp_path / "shop_password").write_text(secret["shop_password"])
    (tmp_path / "gatherd.yaml").write_text(text.replace(volume["mountPath"], str(tmp_path)))
    command = [program, "check", "-c", tmp_path / "gatherd.yaml"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_the_probes_ask_where_gatherd_answers(container: dict[str, Any]):
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["http"] == int(server()["listen"].rpartition(":")[2]) and ports["admin"] == int(server()["admin"].rpartition(":")[2])
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in asked.values()} == {"admin"}
    assert {kind: probe["path"] for kind, probe in asked.items()} == {"startup": "/-/live", "liveness": "/-/live", "readiness": "/-/ready"}
    services = [one for name, one in manifests().items() if name.startswith("Service/")]
    assert {port["targetPort"] for service in services for port in service["spec"]["ports"]} == set(ports)
    labels = manifests()["Deployment/gatherd"]["spec"]["template"]["metadata"]["labels"]
    assert all(service["spec"]["selector"] == labels for service in services)


def test_a_pod_has_time_to_drain(pod: dict[str, Any]):
    delay, drain = (int(server()[key].removesuffix("s")) for key in ("drain_delay", "drain_timeout"))
    assert delay >= 3 and pod["terminationGracePeriodSeconds"] > delay + drain


def test_a_pod_has_no_rights(pod: dict[str, Any], container: dict[str, Any]):
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == USER
    assert pod["automountServiceAccountToken"] is False
    limits = container["securityContext"]
    assert limits["readOnlyRootFilesystem"] and limits["allowPrivilegeEscalation"] is False and limits["capabilities"] == {"drop": ["ALL"]}
    mounted = {one["name"]: one for one in container["volumeMounts"]}
    assert {volume["name"] for volume in pod["volumes"]} == set(mounted)
    assert mounted["secrets"]["readOnly"] and mounted["config"]["readOnly"]


# -- Prometheus --


def test_prometheus_takes_its_configuration_and_asks_the_right_path():
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    assert {job["metrics_path"] for job in config["scrape_configs"]} == {"/-/metrics"}
    name = config["scrape_configs"][1]["dns_sd_configs"][0]["names"][0]
    assert f"Service/{name.partition('.')[0]}" in manifests()
    assert config["scrape_configs"][1]["dns_sd_configs"][0]["port"] == int(server()["admin"].rpartition(":")[2])
    promtool = shutil.which("promtool")
    assert promtool, "promtool is in packages.txt"
    done = subprocess.run([promtool, "check", "config", DEPLOY / "prometheus.yml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_configuration_is_right(program: Path):
    done = subprocess.run([program, "check", "-c", ROOT / "examples/gatherd.yaml"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
