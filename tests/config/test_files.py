"""Every error in a configuration is one line: the file, the key path, the remedy."""

import subprocess
import sys
from pathlib import Path

import pytest
from mistakes import SPACE, error_of, load

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import MAX_BYTES
from hamu_ray.config.sources.files import ConfigError, load_run, load_sweep

DATA_SETS = "cifar10, cifar100, custom, digits, images, muse, svhn, text, tiny-imagenet, tofu, wmdp"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("optimizer: {learing_rate: 3}", "optimizer.learing_rate: unknown key; did you mean learning_rate?"),
        ("learning_rate: 3", "learning_rate: unknown key; did you mean optimizer.learning_rate?"),
        (
            "training: {optimizer: {lr: 3}}",
            "training.optimizer.lr: unknown key; known: clip_norm, learning_rate, momentum, name, schedule, "
            "weight_decay",
        ),
        ("optimizer: {learning_rate: fast}", "optimizer.learning_rate: expected a number, found 'fast'"),
        ("optimizer: {learning_rate: true}", "optimizer.learning_rate: expected a number, found true"),
        (
            "optimizer: {learning_rate: '0.1'}",
            "optimizer.learning_rate: expected a number, found '0.1'; remove the quotes",
        ),
        ("optimizer: {learning_rate: .nan}", "optimizer.learning_rate: expected a finite number, found nan"),
        (
            "optimizer: {learning_rate: -.inf}",
            "optimizer.learning_rate: expected a finite number, found -inf",
        ),
        ("optimizer: {learning_rate: 0}", "optimizer.learning_rate: expected a number above 0, found 0"),
        (
            "optimizer: {name: adam}",
            "optimizer.name: expected sgd or adamw, found 'adam'; did you mean adamw?",
        ),
        (
            "optimizer: 3",
            "optimizer: expected a section with keys (name, learning_rate, momentum, weight_decay, schedule, "
            "clip_norm), found 3",
        ),
        ("batch:", "batch: is empty; add keys (retain, forget, micro) or remove it"),
        ("data: digits", "data: expected a section with keys such as {name: digits}, found 'digits'"),
        ("data: {name: cifr10}", "data.name: unknown name 'cifr10'; did you mean cifar10?"),
        (
            "data: {name: xyz}",
            f"data.name: unknown name 'xyz'; known: {DATA_SETS}",
        ),
        (
            "data: {test_share: 0.2}",
            f"data.name: missing; add it with one of {DATA_SETS}",
        ),
        ("data: {name: images}", "data.path: missing; add it"),
        ("data: {name: images, pth: x}", "data.pth: unknown key where name is images; did you mean path?"),
        (
            "data: {name: digits, path: x}",
            "data.path: unknown key where name is digits; known: name, test_share, validation",
        ),
        ("data: {name: cifar10, mean: [1, a, 3]}", "data.mean.1: expected a number, found 'a'"),
        ("data: {name: cifar10, mean: 3}", "data.mean: expected a list, found 3"),
        (
            "data: {name: cifar10, mean: [0.1, 0.2]}",
            "data: mean and std need one number per channel, 1 for greyscale or 3 for colour images, found 2 and 3",
        ),
        ("forget: {kind: klass}", "forget.kind: unknown kind 'klass'; did you mean class?"),
        ("forget: {kind: class, label: true}", "forget.label: expected a whole number or text, found true"),
        ("forget: {kind: class, rho: 2}", "forget.rho: expected a number of at most 1, found 2"),
        (
            "forget: {rho: 0.5}",
            "forget.kind: missing; add it with one of class, files, ids, indices, random, split, where",
        ),
        ("method: {constraint_ratio: 1.5}", "method.constraint_ratio: expected a number below 1, found 1.5"),
        (
            "method: {constraint_ratio: -1}",
            "method.constraint_ratio: expected a number of at least 0, found -1",
        ),
        (
            "method: {constraint_ratio: 0.5, constraint: 0.1}",
            "method: give one of constraint, constraint_ratio, constraint_fraction, found constraint and "
            "constraint_ratio: set the others to null",
        ),
        (
            "method: {forget_objective: ipo}",
            "method.forget_objective: expected cross_entropy, logit_margin, npo,",
        ),
        (
            "method: {name: ft, forget_objective: npo}",
            "method.forget_objective: ft does not support npo; set it to null or use another method, such as gdiff "
            "(in a sweep's space it applies only to methods that support it)",
        ),
        ("method: {beta: 0}", "method.beta: expected a number above 0, found 0"),
        ("method: {gamma: -1}", "method.gamma: expected a number of at least 0, found -1"),
        ("method: {name: pcgrid}", "method.name: unknown method 'pcgrid'; did you mean pcgrad?"),
        ("method: {radius: -1}", "method.radius: expected lr or a number above 0, found -1"),
        ("method: {radius: lrr}", "method.radius: expected lr or a number, found 'lrr'; did you mean lr?"),
        (
            "workers: {count: 3}",
            "workers.count: must be 1 or even (half of the workers compute each objective), found 3; use 2 or 4, "
            "or set forget_workers",
        ),
        (
            "workers: {count: 2, forget_workers: 2}",
            "workers.forget_workers: must be fewer than count (2), found 2",
        ),
        (
            "workers: {count: 2, min_count: 4}",
            "workers.min_count: must be at most count (2), found 4; lower it, or raise count",
        ),
        (
            "workers: {count: 4, shards: 2, min_count: 3}",
            "workers.min_count: must be a multiple of shards (2), found 3; use 4, or set shards to 1",
        ),
        (
            "workers: {count: 4, shards: 3}",
            "workers.count: must be a multiple of shards (3), found 4; use 6, or set shards to 1",
        ),
        (
            "workers: {count: 6, shards: 2}",
            "workers.count: must be shards (2) or an even multiple of it (half of the workers compute each objective), "
            "found 6; use 4 or 8, or set forget_workers",
        ),
        (
            "workers: {count: 6, shards: 2, forget_workers: 3}",
            "workers.forget_workers: must be a multiple of shards (2), found 3; use 4, or set shards to 1",
        ),
        (
            "data: {name: tofu}\nsupport: {kind: saliency}\nworkers: {count: 2, shards: 2}",
            "workers.shards: support and saliency cannot be selected in shards; set it to 1",
        ),
        (
            "data: {name: tofu}\nmethod: {name: gdiff, forget_objective: bad_teacher}\nworkers: {count: 2, shards: 2}",
            "workers.shards: bad_teacher needs an untrained model as a whole; set it to 1",
        ),
        (
            "workers: {count: 2, shards: 2, gpus: 0.5}",
            "workers.shards: workers that share a GPU cannot share a model (NCCL), found gpus 0.5; set gpus to 1, or "
            "shards to 1",
        ),
        (
            "workers: {count: 2, shards: 2}",
            "workers.shards: only language models can be sharded; set it to 1",
        ),
        ("workers: {count: 2.0}", "workers.count: expected a whole number, found 2.0"),
        (
            "duration: {epochs: 1, steps: 2}",
            "duration: give epochs or steps, not both: set the other to null",
        ),
        ("duration: {epochs: true}", "duration.epochs: expected a whole number, found true"),
        (
            "evaluation: {every_steps: 1, every_epochs: 2}",
            "evaluation: give every_epochs or every_steps, not both: set the other to null",
        ),
        ("seed: -1", "seed: expected a number of at least 0, found -1"),
        ("seed: 4294967296", "seed: expected a number of at most 4294967295, found 4294967296"),
        ("name: 2024", "name: expected text, found 2024; put it in quotes"),
        ("name: 2024-01-01", "name: expected text, found 2024-01-01"),
        (
            "name: my run",
            "name: use only letters, digits, '.', '_' and '-', starting with a letter or digit (it becomes a folder's "
            "name), found 'my run'",
        ),
        ("model: {channels_last: 1}", "model.channels_last: expected true or false, found 1"),
        ("storage: {path: ''}", "storage.path: expected text of at least 1 character, found ''"),
        (
            "original: {source: none}",
            "original.source: unlearning needs an original model; use train or path",
        ),
        (
            "stop: {forget_level: reference}\nreference: {source: none}",
            "stop.forget_level: reference needs a reference; set reference.source to train or path",
        ),
        (
            "stop: {forget_level: reference}\nevaluation: {subset: 100}",
            "stop.forget_level: reference needs intermediate evaluations; set evaluation.every_epochs or every_steps",
        ),
        (
            "stop: {retain_loss_above: 2}\nevaluation: {subset: 100}",
            "stop.retain_loss_above: 2.0 needs intermediate evaluations; set evaluation.every_epochs or every_steps",
        ),
        (
            "stop: {after_steps: 30}\nduration: {steps: 20}",
            "stop.after_steps: 30 is beyond the last step, duration.steps 20; lower it, or make the duration longer",
        ),
        (
            "stop: {after_steps: 3}\nmethod: {name: ssd}\nduration: {steps: 2}",
            "stop.after_steps: 3, but ssd is one edit without steps; set it to null for it",
        ),
        (
            "stop: {rewind: held_out}\nmethod: {name: ssd}",
            "stop.rewind: held_out, but ssd is one edit without steps; set it to null for it",
        ),
        (
            "method: {target: reference}\nreference: {source: none}",
            "method.target: reference needs a reference; set reference.source to train or path",
        ),
        (
            "method: {target: reference, forget_objective: npo}",
            "method.target: reference is a cross-entropy, and npo is the forget objective; "
            "set method.forget_objective or method.target to null",
        ),
        (
            "data: {name: muse, test_share: 0.3}\nforget: {kind: split}",
            "data.test_share: 0.3 has no effect, as a split of the data has the test examples; remove it",
        ),
        ("stop: {forget_level: 2}", "stop.forget_level: expected reference, found 2"),
        (
            "search: {objectives: [{metric: a}]}",
            "search.objectives: expected at least 2 values, found [{'metric': 'a'}]",
        ),
        (
            "search: {constraints: {retain_utility: {}}}",
            "search.constraints.retain_utility: give min, max, or both",
        ),
        (
            "search: {constraints: {retain_utility: {min: 0.9, max: 0.5}}}",
            "search.constraints.retain_utility: min must not be above max, found 0.9 and 0.5",
        ),
        (
            "search: {objectives: [{metric: a}, {metric: a}]}",
            "search.objectives: need different metrics, found a twice",
        ),
        (
            "search: {objectives: [{metric: a}, {metrik: b}]}",
            "search.objectives.1.metrik: unknown key; did you mean metric?",
        ),
        (
            "search: {algorithm: grid}",
            "search.algorithm: grid supports only grids, space.optimizer.learning_rate is not one; "
            "use another algorithm",
        ),
        ("3: 4", "3: unknown key; known: batch,"),
    ],
)
def test_a_wrong_key_or_value(tmp_path: Path, text: str, line: str) -> None:
    message = error_of(tmp_path, f"{text}\n{SPACE}\n")
    assert message == line or (line.endswith(",") and message.startswith(line))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "is empty; write keys and values, such as `name: my-run`"),
        ("# a comment\n", "is empty; write keys and values, such as `name: my-run`"),
        ("- a\n", "expected keys and values, such as `name: my-run`, found a list"),
        ("text", "expected keys and values, such as `name: my-run`, found a single value"),
        ("seed: [1, 2", "line 1: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"),
        ("name: a\nseed: 1\nname: b\n", "line 3: key name is already given on line 1; remove one of the two"),
        (
            "a:\n\tb: 1",
            "line 2: while scanning for the next token, found character '\\t' that cannot start any ",
        ),
        ("a: b: c", "line 1: mapping values are not allowed here"),
        ("!!python/object/apply:os.getcwd []", "line 1: could not determine a constructor for the tag"),
        ("---\na: 1\n---\nb: 1\n", "line 3: expected a single document in the stream, but found another"),
        (b"\xff\xfe\xff", "not valid YAML: "),
        ("name: 2024-13-45", "not valid YAML: month must be in 1..12"),
        ("[" * 3000, "nested too deeply"),
        ("x" * (MAX_BYTES + 1), "larger than 1000000 bytes, the limit for a configuration"),
        ("a: *x", "line 1: found undefined alias 'x'"),
    ],
)
def test_what_is_not_a_configuration(tmp_path: Path, text: str | bytes, line: str) -> None:
    assert error_of(tmp_path, text).startswith(line)


def test_values_that_grow_when_written_out_are_shortened(tmp_path: Path) -> None:
    layers = [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    text = "\n".join(["a0: &a0 [x, x]", *layers, "seed: *a29", SPACE])
    assert len(error_of(tmp_path, text)) < 300


def test_keys_merged_in_may_be_given_again(tmp_path: Path) -> None:
    text = "optimizer: &o {learning_rate: 0.1, momentum: 0.5}\ntraining: {optimizer: {<<: *o, momentum: 0}}\n"
    config = load(tmp_path, text + SPACE)
    assert config.training.optimizer.momentum == 0
    assert config.training.optimizer.learning_rate == 0.1


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    config = load(tmp_path, f"optimizer: {{learning_rate: 1e-4, weight_decay: 5E-4}}\n{SPACE}")
    assert config.optimizer.learning_rate == 1e-4
    assert config.optimizer.weight_decay == 5e-4
    assert load(tmp_path, f"optimizer: {{learning_rate: 1}}\n{SPACE}").optimizer.learning_rate == 1.0


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").touch()
    with pytest.raises(ConfigError, match=r"digit\.yaml: no such file; did you mean .*/digits\.yaml\?$"):
        load_run(tmp_path / "digit.yaml")
    with pytest.raises(ConfigError, match=r"x\.yaml: no such file; check the path$"):
        load_run(tmp_path / "nowhere" / "x.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory; give a YAML file$"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "optimizer.learing_rate=1",
            "optimizer.learing_rate: unknown key; did you mean learning_rate?",
        ),
        ("optimizer=3", "optimizer: expected a section with keys"),
        ("optimizer.learning_rate=abc", "optimizer.learning_rate: expected a number, found 'abc'"),
        ("seed.x=3", "seed.x: seed is a value, not a section"),
        ("duration.steps=3", "duration: give epochs or steps, not both"),
        ("workers.count=3", "workers.count: must be 1 or even"),
        ("space.batch.retan={int: [1, 9]}", "space.batch.retan: unknown key; did you mean batch.retain?"),
        ("space={}", "space: a sweep needs at least one key"),
    ],
)
def test_a_wrong_override_is_named_too(tmp_path: Path, override: str, line: str) -> None:
    text = f"seed: 1\nduration: {{epochs: 1}}\n{SPACE}\n"
    assert error_of(tmp_path, text, override).startswith(f" with --set {override}: {line}")


@pytest.mark.parametrize("override", ["seed", "=3", "a..b=3", ".a=3", "seed=[", "name=2024-13-45"])
def test_an_invalid_override(tmp_path: Path, override: str) -> None:
    (tmp_path / "x.yaml").write_text(SPACE)
    with pytest.raises(
        ConfigError, match=r"^--set .*: (write it as key\.path=value|the value is not YAML: )"
    ):
        load_sweep(tmp_path / "x.yaml", [override])


def test_overrides_change_what_they_name(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        f"optimizer:\n{SPACE}",
        "optimizer.learning_rate=1e-3",
        "seed=7",
        "space.method.constraint_ratio={uniform: [0.1, 0.9]}",
    )
    assert (config.optimizer.learning_rate, config.seed) == (1e-3, 7)
    assert set(config.space) == {"method.constraint_ratio"}, "what is set does not vary"


@pytest.mark.parametrize("section", ["space: {}", "search: {samples: 3}"])
def test_a_single_run_has_no_space(tmp_path: Path, section: str) -> None:
    (tmp_path / "x.yaml").write_text(section)
    with pytest.raises(
        ConfigError,
        match=r"not valid for a single run; remove it, or run a sweep with python -m hamu_ray\.tune",
    ):
        load_run(tmp_path / "x.yaml")


def test_one_key_of_the_training_optimizer_leaves_the_others() -> None:
    run = RunConfig.model_validate({"training": {"optimizer": {"clip_norm": None}}})
    assert (run.training.optimizer.name, run.training.optimizer.learning_rate) == ("adamw", 1e-3)


def test_checking_a_configuration_imports_nothing_slow() -> None:
    code = (
        "import sys, hamu_ray.config.sources.files, hamu_ray.command, hamu_ray.preflight;"
        "slow = {'torch', 'ray', 'mlflow', 'optuna', 'datasets', 'sklearn', 'transformers'};"
        "print(sorted(slow & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_paths_that_exist_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("1\n")
    (tmp_path / "run.yaml").write_text(
        "data: {name: images, path: owner/name}\nforget: {kind: indices, path: list.txt}\n"
    )
    run = load_run("run.yaml")
    assert run.forget.path == str(tmp_path / "list.txt")
    (tmp_path / "sweep.yaml").write_text(
        "extends: run.yaml\nspace: {forget.path: [{grid: [list.txt, other.txt]}]}\n"
    )
    assert load_sweep("sweep.yaml").space["forget.path"][0].grid == [str(tmp_path / "list.txt"), "other.txt"]
    (tmp_path / "text.yaml").write_text(
        "data: {name: tofu, refusals_path: list.txt}\nforget: {kind: split}\n"
    )
    assert load_run("text.yaml").data.refusals_path == str(tmp_path / "list.txt")
    assert run.data.path == "owner/name", "a name of the hub stays"
