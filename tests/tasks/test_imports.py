import subprocess
import sys

CODE = """
import sys
import hamu_ray.metrics, hamu_ray.tasks
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"ray", "mlflow", "optuna", "sklearn", "datasets", "transformers", "torchvision"}))
"""


def test_tasks_and_metrics_need_neither_ray_nor_mlflow_nor_optuna() -> None:
    """Slow imports are only done where needed."""
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
