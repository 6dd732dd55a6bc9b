"""The files of `cluster/`, checked without a cloud: with the rules of Ray, Kubernetes and shellcheck."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from custom_resources import RayCluster, RayJob, SkyTask
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.runtime_env import RuntimeEnv

from hamu_ray.config.sources.credentials import without_credentials
from hamu_ray.config.sources.packages import BUCKETS

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
CLOUDS = ["aws", "gcp"]
KUBERNETES = "1.33"


def read(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text())


@pytest.mark.parametrize("name", ["aws", "gcp", "local"])
def test_the_launcher_takes_the_file(name: str) -> None:
    config = read(f"{name}.yaml")
    if name in CLOUDS:  # the local file must be complete without changes
        config = prepare_config(config)
    validate_config(config)
    types = dict(config["available_node_types"])
    assert types.pop(config["head_node_type"])["resources"] == {"CPU": 0}, "no trial on the head"
    for kind in types.values():
        assert kind["min_workers"] == 0 < kind["max_workers"] <= config["max_workers"]
        assert kind["resources"]["CPU"] > 0


@pytest.mark.parametrize("name", CLOUDS)
def test_spot_instances_come_before_others_of_the_same_kind(name: str) -> None:
    types = prepare_config(read(f"{name}.yaml"))["available_node_types"]
    spot, other = types["gpu_spot"], types["gpu_on_demand"]
    assert spot["priority"] > other["priority"]
    assert spot["resources"] == other["resources"]
    differing = {"InstanceMarketOptions"} if name == "aws" else {"scheduling"}
    nodes = spot["node_config"], other["node_config"]
    assert {key for key in nodes[0] if nodes[0][key] != nodes[1].get(key)} == differing
    assert "spot" in str(nodes[0][differing.pop()]).lower()


@pytest.mark.parametrize("name", CLOUDS)
def test_strangers_stay_out(name: str) -> None:
    config = prepare_config(read(f"{name}.yaml"))
    assert config["file_mounts"]["/home/ubuntu/.ray/auth_token"].endswith("/.ray/auth_token")
    assert "RAY_AUTH_MODE=token" in config["initialization_commands"][0]
    head = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head
    assert re.search(r"mlflow server --host 127\.0\.0\.1 ", head)
    assert "0.0.0.0" not in str(config)


@pytest.mark.parametrize("name", CLOUDS)
def test_the_environment_that_nodes_write_is_read_as_it_is_meant(name: str, tmp_path: Path) -> None:
    commands = read(f"{name}.yaml")["initialization_commands"]
    script = "\n".join(
        [*commands, *commands, '. ~/.bashrc; echo "$HAMU_RAY_STORAGE $HAMU_RAY_LOCAL $RAY_AUTH_MODE"']
    )
    done = subprocess.run(
        ["bash", "-c", script], env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )  # fmt: skip
    scheme = {"aws": "s3", "gcp": "gs"}[name]
    assert done.stdout.split() == [f"{scheme}://my-bucket/hamu-ray", f"{tmp_path}/runs", "token"]
    assert len((tmp_path / ".bashrc").read_text().splitlines()) == 1


@pytest.mark.parametrize("name", CLOUDS)
def test_one_mlflow_server_starts_however_often_the_head_does(name: str, tmp_path: Path) -> None:
    (line,) = [line for line in read(f"{name}.yaml")["head_start_ray_commands"] if "mlflow server" in line]
    (tmp_path / "bin").mkdir()
    server = tmp_path / "bin" / "mlflow"
    server.write_text("#!/bin/bash\necho $$ >> ~/started\nexec sleep 60\n")
    server.chmod(0o755)
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "HAMU_RAY_STORAGE": "s3://b",
    }
    started, log = tmp_path / "started", tmp_path / "mlflow.log"
    try:
        for _ in range(2):  # as the launcher runs it: the whole line is an argument of the shell
            subprocess.run(["bash", "-c", f"true && ({line})"], env=environment, check=True)
            deadline = time.monotonic() + 30
            while not started.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
        another = subprocess.run(["bash", "-c", "flock -n ~/mlflow.lock true"], env=environment)
        assert another.returncode == 1, "the server holds the lock"
        assert len(started.read_text().split()) == 1
    finally:
        for pid in started.read_text().split() if started.exists() else []:
            os.kill(int(pid), signal.SIGKILL)
    assert log.exists()


@pytest.mark.parametrize("name", CLOUDS)
def test_what_nodes_install_is_there_and_within_the_tested_versions(name: str) -> None:
    config = read(f"{name}.yaml")
    sources = [path for path in config["file_mounts"].values() if not path.startswith("~")]
    assert all((ROOT / path).exists() for path in sources)
    assert "constraints.txt" in sources
    (install,) = [line for line in config["setup_commands"] if "pip install" in line]
    assert "-c ~/hamu-ray/constraints.txt ~/hamu-ray[all," in install


def test_the_pods_are_kubernetes_pods() -> None:
    *others, cluster, job = yaml.safe_load_all((CLUSTER / "kuberay.yaml").read_text())
    spec = RayCluster.model_validate(cluster).spec
    templates = [group.template for group in (spec.headGroupSpec, *spec.workerGroupSpecs)]
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **template} for template in templates
    ]
    claim = "PersistentVolumeClaim"
    assert [o["kind"] for o in others] == [claim, claim, "Deployment", "Service", "NetworkPolicy"]
    assert (RayJob.model_validate(job).kind, len(pods)) == ("RayJob", 2)
    for resource in (*others, *pods):
        assert kubernetes_errors(resource) is None
    misspelt = {**pods[0], "spec": {**pods[0]["spec"], "containerz": []}}
    assert "containerz" in str(kubernetes_errors(misspelt)), "the schema rejects unknown fields"


def kubernetes_errors(resource: dict[str, Any]) -> Exception | None:
    """Return the error of a resource against Kubernetes' schema; None if it is valid."""
    try:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return error
    return None


def test_kubernetes_runs_no_trial_on_the_head_and_nothing_as_root() -> None:
    claim, disk, server, service, policy, cluster, job = yaml.safe_load_all(
        (CLUSTER / "kuberay.yaml").read_text()
    )
    spec = RayCluster.model_validate(cluster).spec
    assert spec.enableInTreeAutoscaling
    assert spec.authOptions.mode == "token"
    assert spec.headGroupSpec.rayStartParams["num-cpus"] == "0"
    assert all(
        group.minReplicas == group.replicas == 0 < group.maxReplicas for group in spec.workerGroupSpecs
    )
    groups = [group.template["spec"] for group in (spec.headGroupSpec, *spec.workerGroupSpecs)]
    for pod, volume, name in (
        *((pod, "storage", claim["metadata"]["name"]) for pod in groups),
        (server["spec"]["template"]["spec"], "mlflow", disk["metadata"]["name"]),
    ):
        assert pod["securityContext"]["runAsNonRoot"]
        volumes = {v["name"]: v for v in pod["volumes"]}
        assert volumes[volume]["persistentVolumeClaim"]["claimName"] == name
        for container in pod["containers"] + pod.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"].keys() == {"requests", "limits"}
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys()
    labels = server["spec"]["template"]["metadata"]["labels"]
    assert labels == server["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert labels == policy["spec"]["podSelector"]["matchLabels"]
    (peers,) = policy["spec"]["ingress"]
    assert peers["from"] == [
        {"podSelector": {"matchLabels": {"ray.io/cluster": "hamu-ray", "ray.io/node-type": "head"}}}
    ]
    environment = {v["name"]: v["value"] for v in groups[0]["containers"][0]["env"]}
    host = f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert environment["MLFLOW_TRACKING_URI"] == f"http://{host}"
    (mlflow,) = server["spec"]["template"]["spec"]["containers"]
    assert any(host in argument for argument in mlflow["args"] if argument.startswith("--allowed-hosts="))
    assert disk["spec"]["accessModes"] == ["ReadWriteOnce"], "SQLite needs a disk of its own"
    assert job["spec"]["clusterSelector"]["ray.io/cluster"] == cluster["metadata"]["name"]


def test_skypilot_takes_the_file() -> None:
    """By SkyPilot's own schema and parser, with version 0.14; they are not among the tests' dependencies."""
    sky = pytest.importorskip("sky", reason="not installed: pip install skypilot==0.14.1")
    document = read("skypilot.yaml")
    task = sky.Task.from_yaml_config({**document, "secrets": {"RAY_AUTH_TOKEN": "given"}})
    assert task.num_nodes == document["num_nodes"]
    with pytest.raises(ValueError, match="num_node"):
        sky.Task.from_yaml_config({**document, "num_node": 2})


def test_a_skypilot_task_has_a_token_and_a_storage_for_all_nodes() -> None:
    task = SkyTask.model_validate(read("skypilot.yaml"))
    assert task.secrets == {"RAY_AUTH_TOKEN": None}, "given when the task is launched"
    assert "RAY_AUTH_MODE=token" in task.run
    assert "--dashboard-host 127.0.0.1" in task.run
    assert "0.0.0.0" not in task.run
    assert task.envs["HAMU_RAY_STORAGE"].startswith("s3://")
    assert "[all,s3]" in task.setup
    assert (ROOT / task.envs["SPACE"]).is_file()


RAY_STUB = """#!/bin/bash
case $1 in
health-check) test -e ~/up ;;
start)
    echo "$*" >> ~/started
    if [[ $* == *--head* ]]; then touch ~/up; fi
    trap 'rm -f ~/up; echo "$*" >> ~/ended; exit 0' TERM
    while true; do /bin/sleep 0.05; done ;;
*) echo "$*" >> ~/unexpected ;;
esac
"""
PYTHON_STUB = """#!/bin/bash
until [[ $(wc -l < ~/started) == 2 ]]; do /bin/sleep 0.05; done
echo "$RAY_ADDRESS $RAY_AUTH_MODE $HAMU_RAY_LOCAL $*" > ~/sweep
exit 3
"""


def test_the_nodes_of_a_skypilot_task_end_with_the_sweep(tmp_path: Path) -> None:
    """The head with the sweep's exit code, the others with success, and Ray with both: SkyPilot's own Ray stays."""
    stubs = tmp_path / "hamu-ray-venv" / "bin"
    stubs.mkdir(parents=True)
    sleep = "#!/bin/bash\nexec /bin/sleep 0.05\n"
    for name, text in {"ray": RAY_STUB, "python": PYTHON_STUB, "sleep": sleep}.items():
        (stubs / name).write_text(text)
        (stubs / name).chmod(0o755)
    task = SkyTask.model_validate(read("skypilot.yaml"))
    environment = {
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
        "SKYPILOT_NUM_GPUS_PER_NODE": "4",
        **task.envs,
        "OPTIONS": "--set search.gpu_hours=10",
    }
    nodes = [
        subprocess.Popen(["bash", "-c", task.run], env={**environment, "SKYPILOT_NODE_RANK": str(rank)})
        for rank in (1, 0)
    ]
    assert [node.wait(60) for node in nodes] == [0, 3]
    deadline = time.monotonic() + 30
    while not (ended := tmp_path / "ended").exists() or len(ended.read_text().splitlines()) < 2:
        assert time.monotonic() < deadline, "Ray ends on both nodes"
        time.sleep(0.05)
    started = (tmp_path / "started").read_text().splitlines()
    assert all("--block --dashboard-agent-listen-port 52366 --num-gpus 4" in line for line in started)
    assert (tmp_path / "sweep").read_text().split() == [
        *("10.0.0.1:6379", "token", f"{tmp_path}/runs", "-m", "hamu_ray.tune", task.envs["SPACE"]),
        *("--resume", "auto", "--set", "search.gpu_hours=10"),
    ]
    assert not (tmp_path / "unexpected").exists()


def test_a_skypilot_node_with_an_old_driver_is_refused(tmp_path: Path) -> None:
    """Before anything is installed."""
    for version, code in (("570.86.10", 1), ("580.65.06", 0)):
        for name, text in {"nvidia-smi": f"echo {version}", "uv": "true"}.items():
            (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
            (tmp_path / name).chmod(0o755)
        done = subprocess.run(
            ["bash", "-c", read("skypilot.yaml")["setup"]],
            env={"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        assert (f"NVIDIA driver {version}" in done.stderr) == bool(code)


def test_the_runtime_environment_is_one() -> None:
    environment = RuntimeEnv(**read("runtime_env.yaml"))
    assert environment.has_pip()
    project = environment["pip"]["packages"][-1]
    extras = set(project.partition("[")[2].rstrip("]").split(","))
    assert extras >= {"all", *BUCKETS}, "its storage may be a bucket"


def test_pip_installs_the_upload_within_the_tested_versions(tmp_path: Path) -> None:
    """As Ray does it: the list as a requirements file, the folder in the environment."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("\n".join(read("runtime_env.yaml")["pip"]["packages"]))
    upload = tmp_path / "upload"
    upload.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / name, upload)
    shutil.copytree(ROOT / "hamu_ray", upload / "hamu_ray")
    report = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--no-deps", "--target", str(tmp_path / "target"), "-r", str(requirements)],
        env={"PATH": "/usr/bin:/bin", "RAY_RUNTIME_ENV_CREATE_WORKING_DIR": str(upload)},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert "Would install hamu-ray-" in report.stdout, report.stdout + report.stderr


@pytest.mark.parametrize("path", sorted(CLUSTER.iterdir()), ids=lambda path: path.name)
def test_no_file_has_credentials_and_each_has_a_header(path: Path) -> None:
    text = path.read_text()
    assert without_credentials(text) == text
    assert not re.search(r"(?i)(password|secret_?key|token):\s*['\"]?[a-z0-9+/]{16,}", text)
    lines = text.splitlines()
    assert lines[1 if lines[0].startswith("#!") else 0].startswith("# ")


def shell_scripts() -> list[Path]:
    files = [*ROOT.glob("scripts/**/*"), *CLUSTER.iterdir(), *ROOT.glob(".ci/*")]
    return sorted(p for p in files if p.is_file() and re.match(rb"#!.*\b(ba)?sh\b", p.read_bytes()[:40]))


def test_shell_scripts_are_clean(tmp_path: Path) -> None:
    scripts = shell_scripts()
    for part in ("setup", "run"):
        script = tmp_path / f"{part}.sh"
        script.write_text(f"#!/bin/bash\n{read('skypilot.yaml')[part]}")
        scripts.append(script)
    assert {"slurm.sh", "setup", "sweep", "test", "run"} <= {path.name for path in scripts}
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
