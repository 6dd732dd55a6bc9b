"""A run that starts at the model of an earlier run."""

from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import pytest
import yaml
from cheap_runs import Done, ReportList, cheap_run, done, same_bits

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import ConfigError
from hamu_ray.engine.resident import Resident
from hamu_ray.preflight import check_run
from hamu_ray.results.folder import MODEL_FILE, RUN_FILE
from hamu_ray.results.outcome import Report, Status, Verdict
from hamu_ray.results.provenance import ModelIdentity, read_provenance
from hamu_ray.storage import sha256_of_file


@pytest.fixture
def earlier(resident: Resident, folder: Path) -> Done:
    return done(cheap_run(), resident, folder.with_name("earlier"))


def run_from(earlier: Done, **sections: object) -> RunConfig:
    return cheap_run(start={"path": str(earlier.folder)}, **sections)


def test_without_a_step_it_is_the_earlier_model(resident: Resident, folder: Path, earlier: Done) -> None:
    same = done(run_from(earlier, duration={"steps": 0}), resident, folder)
    assert same_bits(same.weights, earlier.weights)
    assert same.outcome.measures == earlier.outcome.measures
    (first, *_) = same.recorder.of("unlearning")
    (original,) = same.recorder.of("original")
    assert first.measures["forget_loss"] != original.measures["forget_loss"], (
        "it has not the original's metrics"
    )


def test_a_start_beyond_the_reference_s_level_takes_no_step(
    resident: Resident, folder: Path, earlier: Done
) -> None:
    beyond = done(
        cheap_run(method={"name": "ga"}, optimizer={"learning_rate": 0.3}, stop={"collapse_ratio": None}),
        resident,
        folder.with_name("beyond"),
    )
    stop = {"forget_level": "reference", "collapse_ratio": None}
    end = done(run_from(beyond, stop=stop, reference={"source": "train"}), resident, folder).outcome
    assert (end.steps, "reached the reference's" in end.reason) == (0, True)


def test_it_goes_on_from_there_and_its_configuration_makes_it_again(
    resident: Resident, folder: Path, earlier: Done
) -> None:
    run = run_from(earlier, optimizer={"learning_rate": 2e-3}, checkpoint={"every_steps": 2})
    undisturbed = done(run, resident, folder)
    assert not same_bits(undisturbed.weights, done(cheap_run(), resident, folder.with_name("plain")).weights)
    written = RunConfig.model_validate(yaml.safe_load((folder / RUN_FILE).read_text()))
    place = folder.with_name("again")
    with pytest.raises(ConnectionError):
        done(written, resident, place, ReportList(dies_at=4))
    again = done(written, resident, place)
    assert again.outcome.resumed_at == 2
    assert same_bits(again.weights, undisturbed.weights)
    provenance = read_provenance(folder)
    assert provenance is not None
    assert provenance.labels()["start"] == sha256_of_file(earlier.folder / MODEL_FILE)


def test_its_teacher_is_the_original(resident: Resident, folder: Path, earlier: Done) -> None:
    """Also for later runs with the same original in this process, which share the teacher."""
    scrub = {"method": {"name": "scrub"}, "duration": {"steps": 3}, "evaluation": {"subset": None}}
    plain = done(cheap_run(**scrub), Resident(resident.storage, resident.device), folder.with_name("plain"))
    before = Resident(resident.storage, resident.device)
    done(run_from(earlier, **scrub), before, folder)
    assert same_bits(done(cheap_run(**scrub), before, folder.with_name("after")).weights, plain.weights)


def test_a_checkpoint_of_another_start_is_not_continued(
    resident: Resident, folder: Path, earlier: Done
) -> None:
    other = done(cheap_run(seed=41, optimizer={"learning_rate": 5e-3}), resident, folder.with_name("other"))
    with pytest.raises(ConnectionError):
        done(run_from(earlier, checkpoint={"every_steps": 2}), resident, folder, ReportList(dies_at=4))
    assert done(run_from(other, checkpoint={"every_steps": 2}), resident, folder).outcome.resumed_at == 0


def test_a_model_that_is_gone_or_was_written_again(resident: Resident, folder: Path, earlier: Done) -> None:
    changed = cheap_run(start={"path": str(earlier.folder), "sha256": "0" * 64})
    with pytest.raises(ValueError, match=r"^start.sha256: .*it was written again since"):
        done(changed, resident, folder)
    gone = cheap_run(start={"path": str(folder / "nowhere")})
    with pytest.raises(ValueError, match=r"^start.path: .*no such file"):
        done(gone, resident, folder)


@dataclass
class Removes(ReportList):
    """Removes a folder at the first report of unlearning."""

    gone: Path = Path()

    def __call__(self, report: Report) -> Verdict:
        if report.phase == "unlearning" and self.gone.exists():
            rmtree(self.gone)
        return super().__call__(report)


@pytest.mark.parametrize("is_pinned", [False, True])
def test_a_model_that_is_gone_when_its_run_ends(
    resident: Resident, folder: Path, earlier: Done, is_pinned: bool
) -> None:
    digest = sha256_of_file(earlier.folder / MODEL_FILE)
    run = run_from(earlier)
    if is_pinned:
        run = cheap_run(start={"path": str(earlier.folder), "sha256": digest})
    end = done(run, resident, folder, Removes(gone=earlier.folder))
    assert end.outcome.status is Status.FINISHED
    provenance = read_provenance(folder)
    assert provenance is not None
    assert provenance.start == ModelIdentity(str(earlier.folder / MODEL_FILE), digest)


def test_a_model_of_another_split_is_refused_before_a_run_starts(
    tmp_path: Path, resident: Resident, earlier: Done
) -> None:
    """Its training examples may be this run's test examples; so would be those of a confirmation with new seeds."""
    storage = {"storage": {"path": str(tmp_path)}}
    check_run(run_from(earlier, **storage), "x.yaml")
    check_run(run_from(earlier, **storage, seed=7, training={"seed": 41}), "x.yaml")
    with pytest.raises(
        ConfigError, match=r"^x.yaml: start.path: .* of seed 41, .* of 7; set training.seed: 41$"
    ):
        check_run(run_from(earlier, **storage, seed=7), "x.yaml")
