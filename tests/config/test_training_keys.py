"""What a run without augmentation says of its training: the same as before the key existed."""

import json

from hamu_ray.config.run import RunConfig
from hamu_ray.reports.analysis.identity import problem_key


def test_a_run_without_augmentation_is_written_without_the_key() -> None:
    """Keys of audits, and comparisons with the files of earlier sweeps, are of the whole section."""
    run = RunConfig()
    written = run.model_dump(mode="json")
    assert "augment" not in written["training"]
    assert "augment" not in json.loads(run.model_dump_json())["training"]
    assert RunConfig.model_validate(written) == run
    cropped = RunConfig.model_validate({"training": {"augment": {}}})
    assert cropped.model_dump(mode="json")["training"]["augment"] == {"crop": 4, "flip": True}
    assert RunConfig.model_validate(cropped.model_dump(mode="json")) == cropped
    assert problem_key(written, []) != problem_key(cropped.model_dump(mode="json"), [])
