"""Text data: the used part of a corpus, its tokens, and errors that are reported before anything starts."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hamu_ray.config.task.forget import ForgetRandom
from hamu_ray.config.task.language import ForgetSplit, TextData, TofuData
from hamu_ray.config.task.language_model import LanguageModelConfig
from hamu_ray.tasks import check_data
from hamu_ray.tasks.language.documents.corpus import Corpus, load_corpus, split_corpus
from hamu_ray.tasks.language.documents.rows import Rows, load_rows
from hamu_ray.tasks.language.documents.texts import ChosenTexts, Texts
from hamu_ray.tasks.language.encoding.encoder import Encoded, Encoder, Window
from hamu_ray.tasks.language.encoding.token_file import sequences_of
from hamu_ray.tasks.language.encoding.tokenizer import learn_vocabulary, load_tokenizer
from tests.made_texts import FORGET, LORA, RETAIN, tofu

SMALL = LanguageModelConfig(hidden_size=16, layers=2, heads=2, vocabulary=300)


def rows_of(corpus: Corpus, indices: Any) -> Rows:
    questions, answers = corpus.rows.questions, corpus.rows.answers
    return Rows(*(Texts.of(ChosenTexts(part, np.asarray(indices))) for part in (questions, answers)))


def test_retain_test_duplicates_and_forget_are_the_rows_that_are_there(text_corpus: Path) -> None:
    corpus = load_corpus(tofu(text_corpus, duplicates="semantic"), ForgetSplit())
    split = split_corpus(corpus, ForgetSplit(), seed=0)
    assert (len(split.retain), len(split.test)) == (RETAIN - 2, 2)
    assert set(rows_of(corpus, split.retain).questions).isdisjoint(rows_of(corpus, split.test).questions)
    assert all(answer.startswith("Yes: Bo") for answer in rows_of(corpus, split.duplicates).answers)
    together = [*split.retain, *split.duplicates, *split.forget, *split.test]
    assert sorted(together) == list(range(len(corpus.rows)))
    assert rows_of(corpus, split.forget) == corpus.forget
    assert all(question.startswith("Where did Bo") for question in corpus.forget.questions)
    assert sorted(corpus.choices) == ["forget", "real_authors", "retain", "world_facts"]
    assert corpus.choices["forget"].right[0].startswith("It is so: ")
    assert corpus.choices["real_authors"].right == tuple(corpus.choices["real_authors"].rows.answers)


def test_limits_take_the_first_rows(text_corpus: Path) -> None:
    config = tofu(text_corpus, retain_limit=10, forget_limit=3, duplicates="exact", test_share=0.3)
    corpus = load_corpus(config, ForgetSplit())
    split = split_corpus(corpus, ForgetSplit(), 0)
    assert [len(part) for part in (split.retain, split.test, split.duplicates, split.forget)] == [7, 3, 3, 3]
    assert corpus.duplicates == corpus.forget


@pytest.mark.parametrize("seed", [0, 1])
def test_a_random_forget_set_comes_from_all_training_examples(seed: int, text_corpus: Path) -> None:
    forget = ForgetRandom(share=0.5)
    corpus = load_corpus(tofu(text_corpus), forget)
    split = split_corpus(corpus, forget, seed)
    test = round(0.1 * (RETAIN + FORGET))
    assert len(split.test) == test
    assert sorted([*split.retain, *split.forget, *split.test]) == list(range(RETAIN + FORGET))
    assert len(split.forget) == round((RETAIN + FORGET - test) / 2)
    other = split_corpus(corpus, forget, seed + 1)
    assert set(other.forget) != set(split.forget)
    assert other.test.tolist() == split.test.tolist()


def test_any_texts_by_their_columns_and_splits(tmp_path: Path, text_corpus: Path) -> None:
    folder = tmp_path / "poems"
    (folder / "data").mkdir(parents=True)  # where `datasets` derives splits from file names
    for split, texts in (("train", ["roses", "violets"]), ("forget", ["thorns"]), ("test", ["tulips"])):
        pd.DataFrame({"poem": texts}).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    config = TextData(
        path=str(folder), question_column=None, answer_column="poem", test_split="test", max_length=32
    )
    corpus = load_corpus(config, ForgetSplit())
    assert (list(corpus.kept.answers), list(corpus.forget.answers)) == (["roses", "violets"], ["thorns"])
    assert list(corpus.test.answers) == ["tulips"]
    assert rows_of(corpus, split_corpus(corpus, ForgetSplit(), 0).test) == corpus.test
    encoder = Encoder(load_tokenizer(SMALL, corpus.texts, None), config)
    (encoded,) = encoder.encode(corpus.test.questions, corpus.test.answers)
    assert encoded.prompt == (encoder.tokenizer.bos_token_id,)
    assert encoder.decode(encoded.answer) == "tulips"


def test_the_original_layout_of_tofu(tmp_path: Path, text_corpus: Path) -> None:
    """Each part is a configuration with the single split `train`."""
    import yaml

    names = {"forget01": "forget_01-forget", "retain99": "forget_01-retain", "forget01_perturbed": None}
    files = [
        {
            "config_name": name,
            "data_files": [{"split": "train", "path": f"{file or 'forget_01_perturbed-train'}.parquet"}],
        }
        for name, file in names.items()
    ]
    folder = tmp_path / "tofu"
    shutil.copytree(text_corpus, folder)
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': files})}---\n")
    one = load_corpus(tofu(folder, layout="locuslab"), ForgetSplit())
    other = load_corpus(tofu(text_corpus), ForgetSplit())
    assert one.rows == other.rows
    assert sorted(one.choices) == ["forget"]


def error_of(data: TofuData | TextData, forget: Any = None, **model: Any) -> str:
    with pytest.raises(ValueError) as raised:
        check_data(
            data,
            [(forget or ForgetSplit(), 0)],
            LanguageModelConfig.model_validate({**SMALL.model_dump(), **model}),
        )
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"path": "/nowhere"}, "data.path: /nowhere: no such folder"),
        (
            {"question_column": "ask"},
            "data.question_column: CORPUS (forget) has no column ask; known: answer, question",
        ),
        (
            {"answer_column": "answr"},
            "data.answer_column: CORPUS (forget) has no column answr; did you mean answer?",
        ),
        ({"subset": "forget_10"}, "data.layout: CORPUS (forget_10, forget) cannot be loaded: BuilderConfig"),
        ({"layout": "locuslab"}, "data.layout: CORPUS (forget01, train) cannot be loaded: BuilderConfig"),
        ({"test_share": 0.99}, "data.test_share: 0.99 of 20 examples leaves none to retain"),
        ({"template": "chat"}, "data.template: small-llama has no chat template; use plain"),
    ],
)
def test_data_that_do_not_fit(values: dict[str, Any], line: str, text_corpus: Path) -> None:
    config = tofu(text_corpus).model_copy(update=values)
    assert error_of(config).startswith(line.replace("CORPUS", str(text_corpus)))


def test_an_empty_answer_is_named(tmp_path: Path, text_corpus: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    frame = pd.DataFrame({"question": ["a", "b"], "answer": ["c", " "]})
    frame.to_parquet(folder / "train-00000-of-00001.parquet")
    message = error_of(TextData(path=str(folder)), ForgetRandom(share=0.5))
    assert message == (
        f"data.answer_column: row 1 of {folder} (train) is empty; every row needs a text in answer"
    )
    missing = error_of(TextData(path=str(folder), answer_column="question"), ForgetSplit(split="gone"))
    assert missing.startswith(f"forget.split: {folder} (gone) cannot be loaded: Unknown split")


def test_layers_and_adapters_that_do_not_fit(
    text_corpus: Path, text_checkpoint: Path, tmp_path: Path
) -> None:
    data = tofu(text_corpus)
    for name in ("small-llama", str(text_checkpoint)):
        message = error_of(data, name=name, lora={"target_modules": ["q_prj"]})
        assert message == "model.lora.target_modules: the model has no layer q_prj; did you mean q_proj?"
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    wanted = {**LORA, "adapter": str(adapter)}
    assert error_of(data, lora=wanted).startswith(f"model.lora.adapter: {adapter} has no adapter_config.json")
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 4, "target_modules": ["q_proj"]}))
    described = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": ["q_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps(described))
    given = {"rank": 4, "alpha": 8, "dropout": 0.1, "target_modules": ["q_proj"], "adapter": str(adapter)}
    model = {"name": str(text_checkpoint), "lora": given}
    check_data(
        data, [(ForgetSplit(), 0)], LanguageModelConfig.model_validate({**SMALL.model_dump(), **model})
    )
    for key, value in (("rank", 2), ("alpha", 64), ("dropout", 0.0), ("target_modules", ["v_proj"])):
        found = "q_proj" if key == "target_modules" else given[key]
        shown = "v_proj" if key == "target_modules" else value
        assert error_of(data, lora={**given, key: value}) == (
            f"model.lora.{key}: {shown} differs from {adapter}, which has {found}; set it to null to use the adapter's"
        )
    (adapter / "adapter_config.json").write_text(json.dumps({**described, "peft_type": "IA3"}))
    assert error_of(data, lora=given).endswith("is an adapter by IA3; give one by LORA")


def test_checkpoints_that_do_not_fit(text_corpus: Path, text_checkpoint: Path, tmp_path: Path) -> None:
    data, folder = tofu(text_corpus), tmp_path / "checkpoint"
    check_data(
        data.model_copy(update={"template": "chat"}),
        [(ForgetSplit(), 0)],
        SMALL.model_copy(update={"name": str(text_checkpoint)}),
    )
    assert error_of(data, name="/gone").startswith("model.name: /gone: no such folder")
    shutil.copytree(text_checkpoint, folder)
    longer = data.model_copy(update={"max_length": 65})
    assert error_of(longer, name=str(folder)) == (
        "data.max_length: 65 tokens exceed the model's context of 64; lower it"
    )
    (folder / "chat_template.jinja").unlink()
    assert error_of(data.model_copy(update={"template": "chat"}), name=str(folder)).endswith(
        "has no chat template; use plain"
    )
    described = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**described, "eos_token": None}))
    assert error_of(data, name=str(folder)).endswith("has no end-of-text token; use another")


def test_a_checkpoint_without_a_tokenizer_is_named(
    text_corpus: Path, text_checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(text_checkpoint, folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink(missing_ok=True)
    assert error_of(tofu(text_corpus), name=str(folder)) == (
        f"model.name: {folder} has no tokenizer (tokenizer_config.json); save it there with "
        "tokenizer.save_pretrained, or give a folder that contains one"
    )


def test_a_prompt_without_room_for_its_answer_is_named(text_corpus: Path) -> None:
    config = tofu(text_corpus, max_length=12)
    corpus = load_corpus(config, ForgetSplit())
    encoder = Encoder(load_tokenizer(SMALL, corpus.texts, None), config)
    with pytest.raises(ValueError, match=r"data\.max_length: the prompt of example 0 has \d+ tokens"):
        encoder.encode(corpus.rows.questions, corpus.rows.answers)


def test_a_chat_ends_where_the_answer_does(text_corpus: Path, text_checkpoint: Path) -> None:
    config = tofu(text_corpus)
    encoder = Encoder(
        load_tokenizer(SMALL.model_copy(update={"name": str(text_checkpoint)}), (), None), config
    )
    assert encoder.chat
    (encoded,) = encoder.encode(["Where?"], ["In Rome."])
    decode = encoder.tokenizer.decode
    assert decode(encoded.prompt) == "<s>[INST] Where? [/INST]"
    assert encoder.decode(encoded.answer) == "In Rome."
    assert encoded.answer[-1] == encoder.tokenizer.eos_token_id


def test_long_answers_are_cut(text_corpus: Path) -> None:
    config = tofu(text_corpus)
    corpus = load_corpus(config, ForgetSplit())
    tokenizer = load_tokenizer(SMALL, corpus.texts, None)
    (whole,) = Encoder(tokenizer, config).encode(["Where?"], ["In Rome, far away."])
    shorter = tofu(text_corpus, max_length=len(whole.prompt) + 3)
    (cut,) = Encoder(tokenizer, shorter).encode(["Where?"], ["In Rome, far away."])
    assert (cut.prompt, cut.answer) == (whole.prompt, whole.answer[:3])
    assert (whole.dropped, cut.dropped) == (0, len(whole.answer) - 3)


def test_the_same_texts_give_the_same_vocabulary(text_corpus: Path, tmp_path: Path) -> None:
    texts = load_corpus(tofu(text_corpus), ForgetSplit()).texts
    assert learn_vocabulary(texts, 300).to_str() == learn_vocabulary(texts, 300).to_str()
    first = load_tokenizer(SMALL, texts, tmp_path)
    (file,) = tmp_path.glob("*.json")
    assert load_tokenizer(SMALL, texts, tmp_path).get_vocab() == first.get_vocab()
    assert json.loads(file.read_text())["model"]["vocab"].keys() <= first.get_vocab().keys()


@given(st.text())
@settings(max_examples=50)
def test_a_learned_vocabulary_writes_any_text(text: str) -> None:
    vocabulary = learn_vocabulary(["some text", "more of it"], 300)
    assert vocabulary.decode(vocabulary.encode(text).ids, skip_special_tokens=False) == text


TokenLists = st.lists(
    st.tuples(
        st.lists(st.integers(1, 50), min_size=1, max_size=6),
        st.lists(st.integers(1, 50), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=6,
)


@given(TokenLists, st.data())
def test_batches_hold_what_the_texts_do(
    texts: list[tuple[list[int], list[int]]], data: st.DataObject
) -> None:
    encoded = [Encoded((Window(tuple(prompt), tuple(answer)),)) for prompt, answer in texts]
    sequences = sequences_of([encoded], 0, torch.device("cpu"))
    chosen = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=8))
    batch = sequences.batch(torch.tensor(chosen))
    longest = max(len(texts[at][0]) + len(texts[at][1]) for at in chosen)
    for row, at in enumerate(chosen):
        whole = [*texts[at][0], *texts[at][1]]
        assert batch.tokens[row].tolist() == whole + [0] * (longest - len(whole))
    items = [
        (row, len(texts[at][0]) - 1 + place, token)
        for row, at in enumerate(chosen)
        for place, token in enumerate(texts[at][1])
    ]
    assert (
        list(zip(*(column.tolist() for column in (batch.rows, batch.columns, batch.labels)), strict=True))
        == items
    )
    tokens, mask = sequences.prompt_batch(torch.tensor(chosen))
    widest = max(len(texts[at][0]) for at in chosen)
    for row, at in enumerate(chosen):
        prompt = texts[at][0]
        assert tokens[row].tolist() == [0] * (widest - len(prompt)) + prompt
        assert mask[row].tolist() == [0] * (widest - len(prompt)) + [1] * len(prompt)


def test_a_file_of_its_own_name_is_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside `train` and `test`, the only names of files that `datasets` takes for splits."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "prepared")
    (folder := tmp_path / "answers").mkdir()
    for split, count in (("train", 3), ("forget", 2), ("test", 1)):
        lines = [json.dumps({"question": f"{split} {row}?", "answer": split}) for row in range(count)]
        (folder / f"{split}.json").write_text("\n".join(lines))
    config = TextData(path=str(folder))
    for split, count in (("train", 3), ("forget", 2), ("test", 1)):
        assert list(load_rows(config, None, split, "forget.split").answers) == [split] * count
    with pytest.raises(ValueError, match=r"^forget.split: .* \(absent\) cannot be loaded: Unknown split"):
        load_rows(config, None, "absent", "forget.split")
