"""Requests select rows of the user's data, by index, column value, identifier or file, regardless of hold-outs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hamu_ray.config.task.forget import ForgetFiles, ForgetIds, ForgetIndices, ForgetWhere
from hamu_ray.config.task.language import TextData
from hamu_ray.config.task.language_model import LanguageModelConfig
from hamu_ray.config.task.vision import DigitsData, ForgetClass, ImagesData
from hamu_ray.tasks import check_data, forecast_data
from hamu_ray.tasks.language.documents.corpus import load_corpus, split_corpus
from hamu_ray.tasks.request import Source, requested
from hamu_ray.tasks.vision.images.labels import training_labels
from tests.made_texts import FORGET, RETAIN, tofu

ROWS = 60
SMALL = LanguageModelConfig(hidden_size=16, layers=2, heads=2, vocabulary=300)


def records() -> pd.DataFrame:
    """Every third row is ACME's; identifiers repeat in pairs; ``vip`` is a bool, ``level`` an integer."""
    rng = np.random.default_rng(0)
    words = [" ".join(rng.choice(["ash", "oak", "elm", "fir", "yew", "bay"], 12)) for _ in range(ROWS)]
    return pd.DataFrame(
        {
            "id": [f"c{row // 2}" for row in range(ROWS)],
            "customer": ["ACME" if row % 3 == 0 else f"Other {row}" for row in range(ROWS)],
            "level": [row % 2 for row in range(ROWS)],
            "vip": [row % 2 == 1 for row in range(ROWS)],
            "question": [f"What does record {row} say?" for row in range(ROWS)],
            "answer": [f"{row} {text}" for row, text in enumerate(words)],
        }
    )


@pytest.fixture
def data(tmp_path: Path, offline: None) -> TextData:
    folder = tmp_path / "records"
    folder.mkdir()
    records().to_json(folder / "train.json", orient="records", lines=True)
    return TextData(path=str(folder))


def forgotten(data: Any, forget: Any, seed: int = 0) -> list[str]:
    """The forgotten questions, after checking that the four parts are a partition of all rows."""
    corpus = load_corpus(data, forget)
    split = split_corpus(corpus, forget, seed)
    parts = [*split.forget, *split.retain, *split.test, *split.duplicates]
    assert sorted(parts) == list(range(len(corpus.rows)))
    assert len(split.test)
    return [corpus.rows.questions[at] for at in split.forget]


def asked(rows: Any) -> list[str]:
    return [f"What does record {row} say?" for row in rows]


@settings(max_examples=20)
@given(rows=st.sets(st.integers(0, ROWS - 1), min_size=1, max_size=ROWS - 5), seed=st.integers(0, 9))
def test_indices_are_rows_of_the_file(
    rows: set[int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The hold-out is drawn from the rest: exactly the listed rows are forgotten."""
    listed = tmp_path_factory.mktemp("listed") / "rows.txt"
    listed.write_text("\n".join(map(str, rows)))
    folder = tmp_path_factory.getbasetemp() / "records-of-indices"
    if not folder.exists():
        folder.mkdir()
        records().to_parquet(folder / "train-00000-of-00001.parquet")
    found = forgotten(TextData(path=str(folder)), ForgetIndices(path=str(listed)), seed)
    assert found == asked(sorted(rows))


def test_indices_of_tofu_count_its_retain_and_then_its_forget_rows(text_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text(f"{RETAIN + FORGET - 1}\n0\n{RETAIN}\n")
    forget = ForgetIndices(path=str(tmp_path / "rows.txt"))
    whole = [name.split()[2] for name in forgotten(tofu(text_corpus), forget)]
    assert whole == ["Ada", "Bo", "Bo"]
    assert forgotten(tofu(text_corpus, test_share=0.5), forget) == forgotten(tofu(text_corpus), forget)
    with pytest.raises(
        ValueError, match=r"data\.retain_limit: leaves out 1 of the 3 rows that forget names, such as"
    ):
        forgotten(tofu(text_corpus, forget_limit=3), forget)


def where(**values: Any) -> ForgetWhere:
    return ForgetWhere.model_validate({"kind": "where", **values})


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ({"column": "customer", "equals": "ACME"}, range(0, ROWS, 3)),
        ({"column": "customer", "in": ["Other 1", "Other 2", "No one"]}, [1, 2]),
        ({"column": "customer", "matches": "^Other [12]$"}, [1, 2]),
        ({"column": "level", "equals": 1}, range(1, ROWS, 2)),
        ({"column": "vip", "equals": True}, range(1, ROWS, 2)),
        (
            {"column": "customer", "equals": "ACME", "conditions": [{"column": "level", "in": [0]}]},
            range(0, ROWS, 6),
        ),
        (
            {"conditions": [{"column": "vip", "equals": True}, {"column": "customer", "matches": "CME"}]},
            range(3, ROWS, 6),
        ),
    ],
)
def test_rows_where_columns_hold_values(condition: dict[str, Any], wanted: Any, data: TextData) -> None:
    assert forgotten(data, where(**condition)) == asked(wanted)
    again = ForgetWhere.model_validate(where(**condition).model_dump(mode="json"))
    assert again == where(**condition)


def test_an_authors_column_of_tofu(text_corpus: Path) -> None:
    found = forgotten(tofu(text_corpus), where(column="question", matches="Bo number [0-2]"))
    assert [question.split()[2:5] for question in found] == [["Bo", "number", str(n)] for n in range(3)]


@pytest.mark.parametrize(
    ("condition", "line"),
    [
        (
            {"column": "custmer", "equals": "ACME"},
            "forget.column: PATH (train) has no column custmer; did you mean customer?",
        ),
        (
            {"column": "customer", "equals": "ACNE"},
            "forget: no row of PATH (train) has customer equals 'ACNE'; customer has values 'ACME', "
            "'Other 1', 'Other 2'",
        ),
        (
            {"column": "level", "equals": True},
            "forget: no row of PATH (train) has level equals True; level has values 0, 1",
        ),
        (
            {"column": "level", "equals": "1"},
            "forget: no row of PATH (train) has level equals '1'; level has values 0, 1",
        ),
        (
            {"column": "customer", "matches": ""},
            "forget: all 60 training examples are in the forget set; none is left",
        ),
    ],
)
def test_requests_of_what_is_not_there(condition: dict[str, Any], line: str, data: TextData) -> None:
    with pytest.raises(ValueError) as caught:
        check_data(data, [(where(**condition), 0)], SMALL)
    assert str(caught.value).startswith(line.replace("PATH", data.path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"column": "a"}, "give a column with exactly one of equals, in, matches"),
        ({"column": "a", "equals": 1, "in": [2]}, "give a column with exactly one of equals, in, matches"),
        ({}, "missing; add the column of the condition"),
        ({"equals": 1}, "give a column with exactly one of"),
        ({"column": "a", "matches": "("}, "is not a regular expression"),
        ({"conditions": [{"column": "a"}]}, "give exactly one of equals, in, matches"),
    ],
)
def test_conditions_that_say_nothing(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        where(**values)


def test_rows_with_identifiers(data: TextData, tmp_path: Path) -> None:
    listed = tmp_path / "ids.txt"
    listed.write_text("c3\n\nc0\n")
    assert forgotten(data, ForgetIds(path=str(listed))) == asked([0, 1, 6, 7])
    listed.write_text("c3\nc99\n")
    with pytest.raises(ValueError, match=r"ids\.txt, line 2: no row of .* has id 'c99'"):
        forgotten(data, ForgetIds(path=str(listed)))


def test_limits_do_not_move_rows(data: TextData, tmp_path: Path) -> None:
    listed = tmp_path / "rows.txt"
    listed.write_text("4\n")
    limited = data.model_copy(update={"retain_limit": 5})
    assert forgotten(limited, ForgetIndices(path=str(listed))) == asked([4])
    with pytest.raises(
        ValueError, match=r"data\.retain_limit: leaves out 18 of the 20 rows that forget names"
    ):
        forgotten(limited, where(column="customer", equals="ACME"))


def images(folder: Path, **values: Any) -> Any:
    config = ImagesData(path=str(folder), **values)
    labels, names, source = training_labels(config)
    return config, labels, names, source


def test_images_by_file_row_and_class(image_folder: Path, tmp_path: Path) -> None:
    _, labels, _, source = images(image_folder)
    found = requested(ForgetFiles(names=("cat/2.png", "train/dog/0.png")), source)
    assert (len(found), labels[found].tolist()) == (2, [0, 1])
    listed = tmp_path / "rows.txt"
    listed.write_text("7\n")
    assert requested(ForgetIndices(path=str(listed)), source).tolist() == [7]
    assert requested(where(column="label", equals=1), source).tolist() == labels.nonzero()[0].tolist()
    for names, problem in (
        (("2.png",), "2.png matches 2 images, such as .*; give more of the path"),
        (("9.png",), "9.png is not a training image; "),
    ):
        with pytest.raises(ValueError, match=rf"^forget\.names: {problem}"):
            requested(ForgetFiles(names=names), source)


def test_a_limit_does_not_move_images(image_folder: Path, tmp_path: Path) -> None:
    _, whole, _, _ = images(image_folder)
    _, labels, _, source = images(image_folder, train_limit=4)
    listed = tmp_path / "rows.txt"
    for row in range(8):
        listed.write_text(f"{row}\n")
        if row in source.used:
            (found,) = requested(ForgetIndices(path=str(listed)), source)
            assert source.used[found] == row
            assert labels[found] == whole[row]
        else:
            with pytest.raises(ValueError, match=r"data\.train_limit: leaves out 1 of the 1 rows"):
                requested(ForgetIndices(path=str(listed)), source)


def test_indices_of_digits_are_those_of_the_data_set(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    listed = tmp_path / "rows.txt"
    labels, _, source = training_labels(DigitsData())
    row = int(source.used[1000])
    listed.write_text(f"{row}\n")
    (found,) = requested(ForgetIndices(path=str(listed)), source)
    assert labels[found] == load_digits().target[row]


def test_data_without_columns() -> None:
    with pytest.raises(ValueError, match=r"forget\.column: x has no columns; use forget\.kind indices"):
        requested(where(column="a", equals=1), Source("x", 3))


def test_what_a_lawyer_reads(data: TextData) -> None:
    forecast = forecast_data(data, where(column="customer", equals="ACME"), 0, SMALL)
    lines = list(forecast.lines())
    assert lines[0].startswith("forget     20 texts, ")
    assert lines[0].endswith(" answer tokens")
    assert lines[1].startswith("retain     36 texts")
    assert lines[2].startswith("test       4 texts")
    assert lines[3] == f"hash       sha256 {forecast.digest} of the forget set"
    assert lines[4].startswith("  row 0: What does record 0 say? 0 ")
    assert lines[-1] == "  and 15 more"
    other = forecast_data(data, where(column="customer", equals="Other 1"), 0, SMALL)
    assert other.digest != forecast.digest
    assert forecast_data(data, where(column="customer", equals="ACME"), 5, SMALL).digest == forecast.digest


def test_texts_that_also_occur_elsewhere_are_rejected(data: TextData) -> None:
    frame = records()
    frame.loc[1, ["question", "answer"]] = frame.loc[0, ["question", "answer"]].tolist()
    long = " ".join(f"word{n}" for n in range(60))
    frame.loc[3, "answer"], frame.loc[4, "answer"] = long, f"{long} and so on"
    frame.loc[3:4, "question"] = "Which words?"
    (file,) = Path(data.path).iterdir()
    frame.to_json(file, orient="records", lines=True)
    forget = where(column="customer", equals="ACME")
    with pytest.raises(ValueError) as caught:
        check_data(data, [(forget, 0)], SMALL)
    message = str(caught.value)
    assert message.startswith(
        "forget: 2 texts of the retain or test set contain content of the forget set: row "
    )
    assert "row 1 (" in message
    assert ") equals row 0" in message
    assert "row 4 (" in message
    assert "% similar to row 3" in message
    allowed = forget.model_copy(update={"allow_overlap": True})
    check_data(data, [(allowed, 0)], SMALL)
    assert sum(line.startswith("overlap ") for line in forecast_data(data, allowed, 0, SMALL).lines()) == 2


def test_images_that_also_occur_elsewhere_are_rejected(image_folder: Path) -> None:
    copy = image_folder / "test" / "dog" / "copy.png"
    copy.write_bytes((image_folder / "train" / "cat" / "2.png").read_bytes())
    config = ImagesData(path=str(image_folder))
    check_data(config, [(ForgetFiles(names=("cat/1.png",)), 0), (ForgetClass(label="cat"), 0)])
    forget = ForgetFiles(names=("cat/2.png",))
    with pytest.raises(ValueError, match=r"^forget: 1 images of the .* image \d \(test\) equals image 2"):
        check_data(config, [(forget, 0)])
    lines = list(forecast_data(config, forget.model_copy(update={"allow_overlap": True}), 0, None).lines())  # type: ignore[arg-type]
    assert lines[:3] == ["forget     1 images", "retain     7 images", "test       3 images"]
    assert lines[4].startswith("  row 2: cat, ")
    assert lines[-1].startswith("overlap    image ")
