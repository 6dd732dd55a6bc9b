import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from cheap_runs import ReportList, cheap_run, done, same_bits

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import BaseModel, base_models, training_recipe
from hamu_ray.engine.files.store import ModelStore, StoredModel, Turn, key_of
from hamu_ray.engine.files.tensors import load_tensors, save_tensors
from hamu_ray.engine.resident import Resident
from hamu_ray.metrics.measured import Measured
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import MEASURES_FILE, MODEL_FILE
from hamu_ray.results.outcome import Status, Verdict
from hamu_ray.tasks.vision.measures import CHEAP

Bases = tuple[StoredModel, StoredModel]

ONE_STEP = {"epochs": 1, "batch_size": 2000, "select": "last"}


def bases_of(run: RunConfig, resident: Resident) -> tuple[StoredModel, StoredModel | None, set[str]]:
    """Return the original, the reference, and which of them were trained."""
    recorder = ReportList()
    original, reference = base_models(run, resident.task(run), Alone(), recorder, resident.models)
    return original, reference, {report.phase for report in recorder.reports}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Resident:
    """Storage with base models of one training step."""
    resident = Resident(tmp_path_factory.mktemp("storage"), torch.device("cpu"))
    _, _, trained = bases_of(cheap_run(training=ONE_STEP), resident)
    assert trained == {"original", "reference"}
    return resident


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"method": {"name": "ga"}, "optimizer": {"name": "adamw"}, "batch": {"retain": 7}},
        {"name": "renamed", "duration": {"steps": 9}, "model": {"freeze_batchnorm": False}},
    ],
)
def test_base_models_are_reused_for_every_unlearning(same: dict[str, Any], store: Resident) -> None:
    original, reference, trained = bases_of(cheap_run(training=ONE_STEP, **same), store)
    assert not trained
    assert reference is not None
    assert original.key != reference.key
    assert original.path.is_file()


@pytest.mark.parametrize(
    "other",
    [
        {"training": {**ONE_STEP, "optimizer": {"learning_rate": 0.02}}},
        {"training": ONE_STEP, "seed": 42},
        {"training": ONE_STEP, "forget": {"kind": "class", "label": 7}},
        {"training": ONE_STEP, "data": {"name": "digits", "test_share": 0.3}},
        {"training": ONE_STEP, "model": {"channels_last": False}},
    ],
    ids=["recipe", "seed", "split", "data", "model"],
)
def test_trained_again_for_another(other: dict[str, Any], store: Resident) -> None:
    run = cheap_run(**other)
    assert bases_of(run, store)[2] == {"original", "reference"}
    assert not bases_of(run, store)[2]


def test_measures_of_earlier_definitions_are_taken_again_without_training(tmp_path: Path) -> None:
    resident = Resident(tmp_path, torch.device("cpu"))
    run = cheap_run(training=ONE_STEP)
    original, reference, _ = bases_of(run, resident)
    assert reference is not None
    for base in (original, reference):
        path = base.path.with_name(MEASURES_FILE)
        path.write_text(
            json.dumps({"retain_accuracy": 0.5})
        )  # in the format before definitions had a version
        assert resident.models.find(base.key) is None
    again, reference_again, trained = bases_of(run, Resident(tmp_path, torch.device("cpu")))
    assert not trained
    for before, after in ((original, again), (reference, reference_again)):
        assert after is not None
        assert after.measures == before.measures
        assert isinstance(after.measures, Measured)
        assert isinstance(before.measures, Measured)
        assert after.measures.per_item == before.measures.per_item
        assert len(after.measures.per_item["forget_losses"]) == 142


def test_training_does_not_depend_on_what_was_trained_before(store: Resident, tmp_path: Path) -> None:
    again = Resident(tmp_path, torch.device("cpu"))
    run = cheap_run(training=ONE_STEP, reference={"source": "none"})
    first, reference, trained = bases_of(run, again)
    assert reference is None
    assert trained == {"original"}
    assert same_bits(load_tensors(first.path)[0], load_tensors(bases_of(run, store)[0].path)[0])


def test_select_best_returns_the_best_epoch_whole(tmp_path: Path) -> None:
    """Its metrics are those of the best evaluation, bit by bit, because running statistics are restored too."""
    resident = Resident(tmp_path, torch.device("cpu"))
    training = {
        "epochs": 4,
        "batch_size": 720,
        "optimizer": {"name": "sgd", "learning_rate": 3.0, "schedule": "constant"},
    }
    run = cheap_run(training={**training, "select": "best"}, reference={"source": "none"})
    recorder = ReportList()
    best, _ = base_models(run, resident.task(run), Alone(), recorder, resident.models)
    epochs = [report.measures for report in recorder.reports if report.measures][:4]
    scores = [measures["retain_accuracy"] + measures["forget_accuracy"] for measures in epochs]
    assert max(scores) > scores[-1], "the last epoch is not the best, or this shows nothing"
    chosen = epochs[scores.index(max(scores))]
    assert {name: best.measures[name] for name in CHEAP} == chosen
    last_run = cheap_run(training={**training, "select": "last"}, reference={"source": "none"})
    last, _, _ = bases_of(last_run, resident)
    assert {name: last.measures[name] for name in CHEAP} == epochs[-1]


ENDS = {Verdict.INTERRUPT: Status.INTERRUPTED, Verdict.STOP: Status.PRUNED}


@pytest.mark.parametrize("verdict", ENDS)
@pytest.mark.parametrize("phase", ["original", "reference"])
def test_a_training_that_is_cut_off_is_not_kept(phase: str, verdict: Verdict, tmp_path: Path) -> None:
    class Enough(ReportList):
        def __call__(self, report: Any) -> Verdict:
            super().__call__(report)
            return verdict if report.phase == phase else Verdict.GO_ON

    resident = Resident(tmp_path, torch.device("cpu"))
    run = cheap_run(training={**ONE_STEP, "epochs": 2})
    stopped = done(run, resident, tmp_path / "run", Enough())
    assert stopped.outcome.status is ENDS[verdict]
    assert phase in bases_of(run, resident)[2]


class Held(ReportList):
    """A callback that keeps its training going until it may end, and fails then if asked to."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.began, self.may_end, self.fails = Event(), Event(), fails

    def __call__(self, report: Any) -> Verdict:
        super().__call__(report)
        self.began.set()
        assert self.may_end.wait(60)
        if self.fails:
            raise ConnectionError("the group died")
        return Verdict.GO_ON


@pytest.mark.parametrize("fails", [False, True], ids=["trains", "dies"])
def test_what_another_group_trains_is_waited_for(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two groups that start together train one model each; the second one takes over what the first leaves."""
    monkeypatch.setattr("hamu_ray.engine.base_models.LOOK_SECONDS", 0.05)
    run, first = cheap_run(training=ONE_STEP), Held(fails)
    residents = [Resident(tmp_path, torch.device("cpu")) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(base_models, run, residents[0].task(run), Alone(), first, residents[0].models)
        assert first.began.wait(60)
        waiting = pool.submit(bases_of, run, residents[1])
        with pytest.raises(TimeoutError):  # it has trained the reference, and waits for the original
            waiting.result(2)
        first.may_end.set()
        trained_by_second = waiting.result(60)[2]
        assert (held.exception(60) is not None) == fails
    assert {report.phase for report in first.reports} == {"original"}
    assert trained_by_second == ({"original", "reference"} if fails else {"reference"})


@pytest.mark.parametrize("verdict", ENDS)
def test_waiting_for_another_group_shows_life_and_can_be_stopped(
    verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without reports, the heartbeat of workers would see the same line for ever, and count them as hung."""
    monkeypatch.setattr("hamu_ray.engine.base_models.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("hamu_ray.engine.base_models.REPORT_SECONDS", 0.1)
    run = cheap_run(training=ONE_STEP, reference={"source": "none"})
    resident = Resident(tmp_path, torch.device("cpu"))

    class Patient(ReportList):
        def __call__(self, report: Any) -> Verdict:
            super().__call__(report)
            return verdict if len(self.reports) == 3 else Verdict.GO_ON

    task, patient = resident.task(run), Patient()
    key = key_of(training_recipe(run, task, BaseModel("original", run.training_seed)))
    with resident.models.to_make(key) as turn:
        assert turn is Turn.OURS
        ended = done(run, resident, tmp_path / "run", patient)
    assert ended.outcome.status is ENDS[verdict]
    assert {(one.phase, one.step, one.total_steps > 0) for one in patient.reports} == {("original", 0, True)}


def test_a_training_that_diverges_is_not_kept(tmp_path: Path) -> None:
    resident = Resident(tmp_path, torch.device("cpu"))
    run = cheap_run(training={**ONE_STEP, "epochs": 3, "optimizer": {"name": "sgd", "learning_rate": 1e30}})
    for _ in range(2):
        with pytest.raises(ValueError, match=r"training\.optimizer\.learning_rate: .* lower it"):
            bases_of(run, resident)


@pytest.mark.parametrize("given", ["folder", "file"])
def test_original_by_path(given: str, resident: Resident, bases: Bases, tmp_path: Path) -> None:
    path = bases[0].path.parent if given == "folder" else bases[0].path
    run = cheap_run(original={"path": str(path)}, duration={"steps": 0}, reference={"source": "none"})
    ended = done(run, resident, tmp_path / "run")
    assert not list(ended.recorder.of("reference"))
    assert same_bits(ended.weights, load_tensors(bases[0].path)[0])
    assert bases[0].measures.items() <= ended.outcome.measures.items()


def test_a_path_is_evaluated_again_when_its_file_changes(
    resident: Resident, bases: Bases, tmp_path: Path
) -> None:
    path = tmp_path / MODEL_FILE
    run = cheap_run(original={"path": str(path)}, method={"name": "kl"})
    found = []
    for base in bases:
        path.write_bytes(base.path.read_bytes())
        found.append(done(run, resident, tmp_path / base.key))
    starts = [next(ended.recorder.of("unlearning")).measures["forget_accuracy"] for ended in found]
    assert starts == [base.measures["forget_accuracy"] for base in bases]
    divergence = [ended.recorder.history["step_retain_loss"][0] for ended in found]
    assert divergence == pytest.approx([0.0, 0.0], abs=1e-6), "the teacher is the model that is there now"


def test_an_invalid_path_is_reported_in_one_line(resident: Resident, bases: Bases, tmp_path: Path) -> None:
    tensors, _ = load_tensors(bases[0].path)
    tensors["head.weight"] = tensors["head.weight"][:7]
    save_tensors(tmp_path / "seven-classes" / MODEL_FILE, tensors)
    (tmp_path / "text").write_text("no tensors")
    for path, message in (
        (tmp_path / "nowhere", r"original\.path: .*nowhere: no such file"),
        (tmp_path / "text", "text is not a safetensors file"),
        (
            tmp_path / "seven-classes",
            r"original\.path: .*head\.weight has shape \(7, 64\), expected \(10, 64\)",
        ),
    ):
        with pytest.raises(ValueError, match=message) as error:
            done(cheap_run(original={"path": str(path)}), resident, tmp_path / "run")
        assert "\n" not in str(error.value)


def test_the_first_complete_model_of_a_key_stays(tmp_path: Path) -> None:
    models = ModelStore(tmp_path)
    first = models.add("key", {"weight": torch.ones(2)}, {"loss": 1.0}, {}, seconds=1.0)
    before = {path.name: path.read_bytes() for path in (tmp_path / "key").iterdir()}
    second = models.add("key", {"weight": torch.zeros(2)}, {"loss": 2.0}, {}, seconds=2.0)
    assert second == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "key").iterdir()} == before
