"""Second answers: refusals, or alternatives of the data, as further examples of the language task."""

from pathlib import Path
from shutil import copytree
from typing import Any

import pandas as pd
import pytest
import torch

from hamu_ray.config.run import RunConfig
from hamu_ray.config.task.forget import ForgetRandom
from hamu_ray.config.task.language import ForgetSplit
from hamu_ray.tasks.language.check import check_language
from hamu_ray.tasks.language.data import LanguageData
from hamu_ray.tasks.language.documents.second import REFUSALS, second_answers_of
from hamu_ray.tasks.language.task import LanguageTask
from tests.made_texts import text_run, tofu


@pytest.fixture(scope="module")
def alternates(text_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus with one, two or three other answers to each forget question."""
    folder = tmp_path_factory.mktemp("alternates") / "corpus"
    copytree(text_corpus, folder)
    for file in folder.glob("forget_01-*.parquet"):  # the splits of a configuration have the same columns
        rows, forget = pd.read_parquet(file), file.stem.endswith("forget")
        counts = [1 + row % 3 if forget else int(row == 0) for row in range(len(rows))]
        rows["other"] = [[f"Other {row} {n}." for n in range(count)] for row, count in enumerate(counts)]
        rows.to_parquet(file)
    return folder


def task_of(corpus: Path, forget: Any = None, **data: Any) -> LanguageTask:
    run = text_run(corpus)
    return LanguageTask(
        LanguageData(tofu(corpus, max_length=128, **data)),
        forget=forget or ForgetSplit(),
        model=run.model,
        batch_size=5,
        seed=0,
    )


def answers(task: LanguageTask, examples: torch.Tensor, seed: int = 3) -> list[str]:
    """The second answers as text, from the labels of the model's outputs."""
    second = task.second_answers(seed)
    outputs = task.forward(task.build_model(0), second.of(examples))
    decode = task._encodings.encoder.decode
    return [decode(outputs.labels[outputs.examples == at].tolist()) for at in range(len(examples))]


def test_each_forget_example_gets_a_refusal_that_follows_it_and_the_seed(text_corpus: Path) -> None:
    task = task_of(text_corpus)
    forget = task.splits["forget"]
    found = answers(task, forget)
    assert set(found) <= set(REFUSALS), set(found) - set(REFUSALS)
    assert len(set(found)) > 1
    order = torch.randperm(len(forget), generator=torch.Generator().manual_seed(0))
    assert answers(task, forget[order]) == [found[at] for at in order.tolist()]
    assert answers(task_of(text_corpus), forget[2:4]) == found[2:4]
    assert answers(task, forget, seed=4) != found
    one, other = (task.second_answers(seed).fingerprint for seed in (3, 4))
    assert one != other


def test_a_row_keeps_its_refusal_whatever_else_is_forgotten(text_corpus: Path) -> None:
    rows = task_of(text_corpus)._encodings.corpus.rows
    config = tofu(text_corpus)
    every = second_answers_of(config, rows, range(20), 1)
    assert second_answers_of(config, rows, [17, 4], 1) == [every[17], every[4]]


def test_forward_and_teacher_see_the_question_with_the_second_answer(text_corpus: Path) -> None:
    task = task_of(text_corpus)
    model = task.build_model(0).eval()
    examples = task.splits["forget"][[5, 1]]
    before = task.forward(model, examples).logits
    teacher, second = task.teacher(model), task.second_answers(0)
    indices = second.of(examples)
    outputs = task.forward(model, indices)
    torch.testing.assert_close(teacher(indices), outputs.logits)
    torch.testing.assert_close(task.forward(model, examples).logits, before)
    own, other = task._texts.batch(examples), task._batch(indices)
    for row in range(2):
        prompt = int(task._texts.prompts[examples[row]])
        assert torch.equal(own.tokens[row, :prompt], other.tokens[row, :prompt])


def test_alternatives_come_from_the_column(alternates: Path) -> None:
    task = task_of(alternates, alternate_column="other")
    forget = task.splits["forget"]
    found = answers(task, forget)
    assert [text.split()[1] for text in found] == [str(row) for row in range(len(forget))]
    assert len({tuple(answers(task, forget, seed)) for seed in range(8)}) > 1
    plain = task_of(alternates)
    assert plain.fingerprint == task.fingerprint, "base models do not depend on them"


def test_a_file_of_refusals(text_corpus: Path, tmp_path: Path) -> None:
    file = tmp_path / "refusals.txt"
    file.write_text("No.\n\n  Never. \n")
    task = task_of(text_corpus, refusals_path=str(file))
    assert set(answers(task, task.splits["forget"])) == {"No.", "Never."}


def check(corpus: Path, forget: Any = None, **data: Any) -> None:
    check_language(tofu(corpus, **data), [(forget or ForgetSplit(), 0)], text_run(corpus).model)


def test_missing_second_answers_are_one_line(alternates: Path, text_corpus: Path, tmp_path: Path) -> None:
    check(alternates, alternate_column="other")
    with pytest.raises(
        ValueError, match=r"data\.alternate_column: a forget example has no text in other; name a col"
    ):
        check(text_corpus, alternate_column="other")
    with pytest.raises(ValueError, match=r"data\.alternate_column: a forget example has no text in other"):
        check(alternates, ForgetRandom(share=0.2), alternate_column="other")  # drawn from the retain split
    with pytest.raises(
        ValueError, match=r"data\.refusals_path: .*none\.txt cannot be read: .*; give a text file"
    ):
        check(text_corpus, refusals_path=str(tmp_path / "none.txt"))
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"empty\.txt has no line; write a refusal in each"):
        check(text_corpus, refusals_path=str(tmp_path / "empty.txt"))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"method": {"name": "dpo"}},
            "method.name: dpo needs second answers to questions, which digits data",
        ),
        (
            {
                "data": {"name": "text", "path": "a", "question_column": None},
                "method": {"name": "gdiff", "forget_objective": "second_nll"},
            },
            "method.forget_objective: second_nll needs second answers",
        ),
        (
            {"data": {"name": "muse"}, "method": {"name": "dpo"}},
            "which muse data do not have here; choose another",
        ),
        (
            {"data": {"name": "text", "path": "a", "question_column": None, "refusals_path": "b"}},
            "texts without questions cannot be refused",
        ),
        (
            {"data": {"name": "tofu", "alternate_column": "a", "refusals_path": "b"}},
            "second answers come from alternate_column; set one of them to null",
        ),
    ],
)
def test_who_has_no_second_answers_is_refused_before_anything_starts(
    sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        RunConfig.model_validate(sections)
