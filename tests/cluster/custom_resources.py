"""The fields of KubeRay's resources (ray.io/v1) and of SkyPilot's tasks that this project uses, from their references.

No package contains the operator's own schema, and SkyPilot's is large; a field that is not listed here is a typo, or
must be looked up first.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Fields):
    name: str


class AuthOptions(Fields):
    mode: Literal["disabled", "token"]
    secretName: str


class AutoscalerOptions(Fields):
    version: Literal["v1", "v2"]
    upscalingMode: Literal["Default", "Aggressive", "Conservative"]
    idleTimeoutSeconds: int
    resources: dict[Literal["requests", "limits"], dict[str, str]]
    securityContext: dict[str, Any]


class HeadGroup(Fields):
    rayStartParams: dict[str, str]
    template: dict[str, Any]
    """A pod template, checked with Kubernetes' own schema."""


class WorkerGroup(HeadGroup):
    groupName: str
    replicas: int
    minReplicas: int
    maxReplicas: int


class ClusterSpec(Fields):
    rayVersion: str
    authOptions: AuthOptions
    enableInTreeAutoscaling: bool
    autoscalerOptions: AutoscalerOptions
    headGroupSpec: HeadGroup
    workerGroupSpecs: list[WorkerGroup]


class JobSpec(Fields):
    clusterSelector: dict[Literal["ray.io/cluster"], str]
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]
    backoffLimit: int
    entrypoint: str


class RayCluster(Fields):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: ClusterSpec


class RayJob(Fields):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: JobSpec


class Autostop(Fields):
    idle_minutes: int
    down: bool


class SkyResources(Fields):
    accelerators: dict[str, int]
    cpus: str
    disk_size: int
    use_spot: bool
    autostop: Autostop


class SkyTask(Fields):
    name: str
    num_nodes: int
    resources: SkyResources
    workdir: str
    envs: dict[str, str]
    secrets: dict[str, None]
    """Given when the task is launched."""
    setup: str
    run: str
