"""What `import hamu_ray` promises: its names, their signatures, and that it loads next to nothing."""

import inspect
import subprocess
import sys

import hamu_ray

COMMON = ["model", "retain", "forget", "test"]
OBJECTS = {"original": None, "loss": None, "metrics": (), "utility": None, "collate": None}
SIGNATURES = {
    "sweep": (
        [*COMMON],
        {
            "methods": ("hamu-q", "hamu-u", "gdiff", "npo"),
            "trials": 40,
            **OBJECTS,
            "space": None,
            "settings": None,
            "name": "sweep",
            "seed": 41,
            "storage": "runs",
            "resume": False,
        },
    ),
    "Unlearner": ([*COMMON], {**OBJECTS, "seed": 41, "storage": "runs"}),
}


def test_the_public_names_and_their_signatures() -> None:
    assert sorted(hamu_ray.__all__) == sorted(SIGNATURES)
    for name, (required, optional) in SIGNATURES.items():
        parameters = inspect.signature(getattr(hamu_ray, name)).parameters
        assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
        given = {key: one.default for key, one in parameters.items() if one.default is not one.empty}
        assert (list(parameters), given) == ([*required, *optional], optional)
    run = inspect.signature(hamu_ray.Unlearner.run)
    assert str(run).partition(" ->")[0] == (
        "(self, method: str = 'hamu-q', settings: collections.abc.Mapping[str, typing.Any] | None = None, "
        "name: str | None = None)"
    )


def test_the_import_is_light_and_the_names_come_on_first_use() -> None:
    code = (
        "import sys, hamu_ray; assert dir(hamu_ray); before = set(sys.modules); from hamu_ray import sweep\n"
        "heavy = {'torch', 'ray', 'numpy', 'pydantic', 'mlflow'}\n"
        "print(*sorted({name.partition('.')[0] for name in before} & heavy))\n"
        "import hamu_ray.tuning.run; from hamu_ray import sweep as again; print(callable(sweep), again is sweep)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["", "True True"]
