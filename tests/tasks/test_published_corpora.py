"""MUSE and WMDP, in small copies of their published layout."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from hamu_ray.config.run import RunConfig
from hamu_ray.config.task.corpora import MuseData, WmdpData
from hamu_ray.config.task.forget import ForgetRandom
from hamu_ray.config.task.language import ForgetSplit
from hamu_ray.config.task.language_model import LanguageModelConfig
from hamu_ray.config.task.windows import WindowsConfig
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.metrics.benchmark_names import MUSE, MUSE_AUC, MUSE_PRIVLEAK, WMDP_ACCURACY
from hamu_ray.metrics.measured import Measures
from hamu_ray.pairing import group
from hamu_ray.results.outcome import Status, Verdict
from hamu_ray.tasks import build_task, check_data, load_data
from hamu_ray.tasks.language.data import LanguageData
from hamu_ray.tasks.language.documents.corpus import load_corpus, split_corpus
from hamu_ray.tasks.language.documents.published import passages
from hamu_ray.tasks.language.encoding.encoder import Encoder
from hamu_ray.tasks.language.encoding.token_file import encoded_sequences
from hamu_ray.tasks.language.probes import _beginnings, probe_encoder
from hamu_ray.tasks.language.task import LanguageTask
from tests.made_texts import text_run
from tests.thread_ranks import Alone, Meeting, OneOf

Split = Sequence[Mapping[str, Any]]

SMALL = LanguageModelConfig(hidden_size=16, layers=2, heads=2, vocabulary=300)
WINDOWS = WindowsConfig(length=320)


def written(folder: Path, configs: Mapping[str, Mapping[str, Split]]) -> Path:
    """Write a data set as the hub's: a Parquet file per split in the folder of its configuration, and the card."""
    head = []
    for config, splits in configs.items():
        (folder / config).mkdir(parents=True)
        for split, rows in splits.items():
            pd.DataFrame(rows).to_parquet(folder / config / f"{split}-00000-of-00001.parquet")
        files = [{"split": split, "path": f"{config}/{split}-*"} for split in splits]
        head.append({"config_name": config, "data_files": files})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': head})}---\n")
    return folder


def documents(kind: str, count: int, sentences: int = 5) -> Split:
    return [
        {"text": " ".join(f"{kind} {number} said so {word} times." for word in range(sentences + number))}
        for number in range(count)
    ]


def questions(kind: str, count: int) -> Split:
    return [{"question": f"What did {kind} {n} say?", "answer": f"{kind} so"} for n in range(count)]


@pytest.fixture
def muse(tmp_path: Path, offline: None) -> Path:
    knowledge = {f"{kind}_qa": questions(kind, 3) for kind in ("forget", "retain")}
    knowledge |= {f"{kind}_qa_icl": questions(kind, 2) for kind in ("forget", "retain")}
    parts = {
        "raw": {
            "forget": documents("Bo", 3),
            "retain1": documents("Ada", 4),
            "retain2": documents("Cy", 3),
            "holdout": documents("Di", 3),
        },
        "verbmem": {"forget": [{"prompt": "Bo 0 said so", "gt": " 0 times. Bo 0 said so 1 times."}]},
        "knowmem": knowledge,
        "privleak": {kind: documents(kind, 4, sentences=60) for kind in ("forget", "retain", "holdout")},
    }
    return written(tmp_path / "muse", parts)


@pytest.fixture
def wmdp(tmp_path: Path, offline: None) -> Path:
    corpora = {f"cyber-{name}-corpus": {"train": documents(name, 12)} for name in ("forget", "retain")}
    asked = [
        {"question": f"Which is {right}?", "choices": ["0", "1", "2", "3"], "answer": right}
        for right in (2, 0, 1)
    ]
    written(tmp_path / "questions", {"wmdp-cyber": {"test": asked}})
    return written(tmp_path / "corpora", corpora)


def task_of(config: MuseData | WmdpData) -> LanguageTask:
    data = load_data(config, torch.device("cpu"))
    assert isinstance(data, LanguageData)
    task = build_task(data, forget=ForgetSplit(), model=SMALL, batch_size=4, seed=1)
    assert isinstance(task, LanguageTask)
    return task


def test_passages_keep_every_word_and_the_space_between_them() -> None:
    text = "one  two\nthree four\n\nfive "
    assert passages(text, 2) == ["one  two", "three four", "five"]
    assert passages(text, 100) == ["one  two\nthree four\n\nfive"]
    assert passages(" \n", 3) == []


def test_muse_is_forgotten_retained_and_tested_by_its_splits(muse: Path) -> None:
    config = MuseData(path=str(muse), passage_words=10)
    corpus = load_corpus(config, ForgetSplit())
    split = split_corpus(corpus, ForgetSplit(), 0)
    answers = corpus.rows.answers
    for part, kinds in ((split.forget, {"Bo"}), (split.retain, {"Ada", "Cy"}), (split.test, {"Di"})):
        assert {
            name for index in part for name in ("Bo", "Ada", "Cy", "Di") if name in answers[index]
        } == kinds
        assert max(len(answers[index].split()) for index in part) == 10
    whole = " ".join(answers[index] for index in split.forget)
    assert whole == " ".join(row["text"] for row in documents("Bo", 3))
    assert corpus.place(1) == "row 1"
    few = load_corpus(MuseData(path=str(muse), retain_splits=("retain1",), forget_limit=2), ForgetSplit())
    assert (len(few.kept), len(few.forget)) == (4, 2)


def test_muse_asks_after_examples_of_questions(muse: Path) -> None:
    probe = load_corpus(MuseData(path=str(muse)), ForgetSplit()).probes["knowmem_forget"]
    assert probe.rows.questions[2] == (
        "Question: What did forget 0 say?\nAnswer: forget so\n\n"
        "Question: What did forget 1 say?\nAnswer: forget so\n\n"
        "Question: What did forget 2 say?\nAnswer:"
    )
    assert list(probe.rows.answers) == ["forget so"] * 3


def test_a_model_is_measured_on_muse(muse: Path) -> None:
    task = task_of(MuseData(path=str(muse), windows=WINDOWS, new_tokens=4))
    assert task.build_model(1).config.max_position_embeddings == 320
    measures = task.evaluate(task.build_model(1), Alone())
    assert {name for name in MUSE if 0 <= measures[name] <= 1} == set(MUSE)
    assert not set(MUSE) & set(task.evaluate(task.build_model(1), Alone(), subset=2)), "only in full"
    known, unknown = Measures(measures) | {MUSE_AUC: 0.9}, Measures(measures) | {MUSE_AUC: 0.6}
    assert task.compare(known, None, unknown)[MUSE_PRIVLEAK] == pytest.approx((0.1 - 0.4) / 0.4)


def test_two_ranks_measure_the_same(muse: Path) -> None:
    task = task_of(MuseData(path=str(muse), windows=WINDOWS, new_tokens=4))
    alone = task.evaluate(task.build_model(1), Alone())
    meeting, found = Meeting(2), {}

    def measure(rank: int) -> None:
        own = task_of(MuseData(path=str(muse), windows=WINDOWS, new_tokens=4))
        found[rank] = own.evaluate(own.build_model(1), OneOf(rank, 2, meeting))

    threads = [Thread(target=measure, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rank in range(2):
        assert {name: found[rank][name] for name in MUSE} == pytest.approx({n: alone[n] for n in MUSE})


def test_muse_is_unlearned_from_models_that_are_trained_here(muse: Path, tmp_path: Path) -> None:
    data = MuseData(path=str(muse), windows=WINDOWS, new_tokens=4, passage_words=20)
    run = text_run(muse).model_copy(update={"data": data})
    resident = Resident(tmp_path, torch.device("cpu"))
    outcome = unlearn(run, resident, group.Alone(), tmp_path / "run", lambda report: Verdict.GO_ON)
    assert outcome.status is Status.FINISHED, outcome.reason
    assert {*MUSE, MUSE_PRIVLEAK, "forget_quality"} <= set(outcome.measures)


def test_a_text_is_scored_as_a_whole_and_a_prompt_must_fit(muse: Path) -> None:
    """Texts of the membership attack are texts of the corpus: in its windows, and without a prompt."""
    encodings = task_of(MuseData(path=str(muse), windows=WindowsConfig(length=200), new_tokens=4))._encodings
    texts = encodings.probes[MUSE_AUC].texts
    assert int(texts.windows.max()) > 1
    assert int(texts.dropped.sum()) == 0
    assert texts.prompts.tolist() == [1] * 8
    assert encodings.encoder.decode(texts.tokens[: int(texts.lengths[0])]).startswith("forget 0 said so 0")
    with pytest.raises(ValueError, match=r"^data.windows.length: the prompt of example .* raise it"):
        task_of(MuseData(path=str(muse), windows=WindowsConfig(length=20)))


def test_continuations_are_compared_with_the_true_ones(muse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that generates the truth has a VerbMem of 1."""
    task = task_of(MuseData(path=str(muse), windows=WINDOWS, new_tokens=4))
    encodings = task._encodings
    texts = encodings.probes["verbmem_forget"].texts

    def truth(model: object, of: Any, indices: torch.Tensor, *others: Any) -> np.ndarray:
        rows = np.full((len(indices), 128), encodings.encoder.pad)
        for row, index in zip(rows, indices.tolist(), strict=True):
            start, count = int(of.starts[index] + of.prompts[index]), int(of.answers[index])
            row[: min(count, 128)] = of.tokens[start : start + count].numpy()[:128]
        return rows

    monkeypatch.setattr("hamu_ray.tasks.language.probes.greedy_answers", truth)
    measures = task.evaluate(task.build_model(1), Alone())
    assert len(texts) == 1
    assert [measures[name] for name in MUSE[:3]] == [1, 1, 1]


def test_a_true_continuation_goes_on_in_the_next_window(muse: Path) -> None:
    """VerbMem compares as many tokens with short windows as with long ones."""
    encoder = probe_encoder(
        task_of(MuseData(path=str(muse), windows=WINDOWS))._encodings.encoder, "continuations"
    )
    prompt, truth = ["Bo 0 said so"], [" 0 times." + " Bo 0 said so 1 times." * 20]
    found = []
    for length in (32, 2048):
        config = encoder.config.model_copy(update={"windows": WindowsConfig(length=length)})
        short = Encoder(encoder.tokenizer, config)
        texts = encoded_sequences(short, prompt, truth, torch.device("cpu"))
        assert (int(texts.windows) > 1) == (length == 32)
        found.append(_beginnings(texts, 60, short))
    assert found[0] == found[1]
    assert truth[0].strip().startswith(found[0][0].strip())


def test_wmdp_asks_for_letters(wmdp: Path) -> None:
    config = WmdpData(path=str(wmdp), questions_path=str(wmdp.parent / "questions"), windows=WINDOWS)
    task = task_of(config)
    probe = task._encodings.corpus.probes[WMDP_ACCURACY]
    assert probe.rows.questions[4] == (
        "The following are multiple choice questions (with answers) about cybersecurity.\n\n"
        "Which is 0?\nA. 0\nB. 1\nC. 2\nD. 3\nAnswer:"
    )
    assert list(probe.rows.answers[:4]) == ["A", "B", "C", "D"]
    model = task.build_model(1)
    assert task.evaluate(model, Alone())[WMDP_ACCURACY] == pytest.approx(accuracy_by_hand(task, model))
    assert len(task.splits["retain"]) == 11, "a tenth is held out for test"


def accuracy_by_hand(task: LanguageTask, model: torch.nn.Module) -> float:
    """Return the share of questions after whose prompt the right letter's token is the likeliest of the four."""
    tokenizer = task._encodings.encoder.tokenizer
    probe = task._encodings.corpus.probes[WMDP_ACCURACY]
    hits = []
    for number, right in enumerate(probe.right):
        prompt = probe.rows.questions[4 * number]
        begin = tokenizer.bos_token or ""
        with torch.no_grad():
            found = []
            for letter in "ABCD":
                before = tokenizer(begin + prompt, add_special_tokens=False)["input_ids"]
                tokens = tokenizer(f"{begin}{prompt} {letter}", add_special_tokens=False)["input_ids"]
                logits = model.eval()(input_ids=torch.tensor([tokens])).logits[0].log_softmax(-1)
                places = range(len(before), len(tokens))
                found.append(sum(float(logits[place - 1, tokens[place]]) for place in places))
        hits.append(int(np.argmax(found)) == right)
    return float(np.mean(hits))


def test_a_forget_corpus_of_its_own(wmdp: Path, tmp_path: Path) -> None:
    own = tmp_path / "bio"
    own.mkdir()
    pd.DataFrame([{**row, "doi": "1"} for row in documents("virus", 5)]).to_parquet(own / "train.parquet")
    config = WmdpData(
        path=str(wmdp),
        questions_path=str(wmdp.parent / "questions"),
        forget_path=str(own),
        passage_words=1000,
    )
    corpus = load_corpus(config, ForgetSplit())
    assert [text.split()[0] for text in corpus.forget.answers] == ["virus"] * 5


def test_mistakes_name_the_key(muse: Path, wmdp: Path) -> None:
    questions = str(wmdp.parent / "questions")
    for config, line in (
        (WmdpData(path=str(wmdp), questions_path=str(wmdp)), r"^data.questions_path: .*wmdp-cyber"),
        (
            WmdpData(path=str(wmdp), questions_path=questions, domain="bio"),
            r"^data.domain: .*bio-forget-corpus",
        ),
        (
            WmdpData(path=str(wmdp), questions_path=questions, forget_path="./no"),
            r"^data.forget_path: ./no: no such",
        ),
        (MuseData(path=str(wmdp)), r"^data.path: "),
        (MuseData(path=str(muse), retain_splits=("retain3",)), r"^data.retain_splits: .*retain3"),
        (
            MuseData(path=str(muse), answer_column="txt"),
            r"^data.answer_column: .* no column txt; it has text",
        ),
    ):
        with pytest.raises(ValueError, match=line) as caught:
            check_data(config, [(ForgetSplit(), 0)], SMALL)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"^forget.split: "):
        check_data(MuseData(path=str(muse)), [(ForgetSplit(split="retain1"), 0)], SMALL)
    with pytest.raises(ValueError, match=r"forget.kind: muse data do not support kind random; use split"):
        RunConfig.model_validate({"data": {"name": "muse"}, "forget": ForgetRandom().model_dump()})


def test_changed_files_and_other_folders_of_the_same_name_are_read_anew(
    tmp_path: Path, offline: None
) -> None:
    """`datasets` recognises a folder with a card by its name and its card alone."""

    def asked(place: str, right: int) -> tuple[int, ...]:
        rows = [{"question": "Which?", "choices": list("abcd"), "answer": right}]
        folder = written(tmp_path / place / "questions", {"wmdp-cyber": {"test": rows}})
        corpora = {f"cyber-{name}-corpus": {"train": documents(name, 3)} for name in ("forget", "retain")}
        path = written(tmp_path / place / "corpora", corpora)
        return asked_in(path, folder)

    def asked_in(path: Path, folder: Path) -> tuple[int, ...]:
        config = WmdpData(path=str(path), questions_path=str(folder))
        return load_corpus(config, ForgetSplit()).probes[WMDP_ACCURACY].right

    assert asked("one", 0) == (0,)
    assert asked("two", 1) == (1,)
    file = tmp_path / "two/questions/wmdp-cyber/test-00000-of-00001.parquet"
    pd.DataFrame([{"question": "Which?", "choices": list("abcd"), "answer": 2}]).to_parquet(file)
    assert asked_in(tmp_path / "two/corpora", tmp_path / "two/questions") == (2,)


def test_a_blank_line_ends_an_answer_also_at_its_beginning(
    muse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(MuseData(path=str(muse), windows=WINDOWS, new_tokens=4))
    tokenizer = task._encodings.encoder.tokenizer

    def generated(model: object, of: Any, indices: torch.Tensor, *others: Any) -> np.ndarray:
        tokens = tokenizer("\n\nforget so", add_special_tokens=False)["input_ids"]
        return np.tile(tokens, (len(indices), 1))

    monkeypatch.setattr("hamu_ray.tasks.language.probes.greedy_answers", generated)
    assert task.evaluate(task.build_model(1), Alone())["knowmem_forget"] == 0


def test_passages_are_not_generated_as_a_whole(muse: Path) -> None:
    """They have no prompt: each full evaluation would generate hundreds of texts of a window's length."""
    assert task_of(MuseData(path=str(muse), windows=WINDOWS))._evaluation.new_tokens == 128


@pytest.mark.parametrize(
    ("texts", "words"),
    [((None, "a b"), "must contain texts, found None in row 0"), ((" ", ""), "are empty")],
)
def test_documents_need_words(
    texts: tuple[str | None, ...], words: str, tmp_path: Path, offline: None
) -> None:
    corpora: dict[str, Mapping[str, Split]] = {
        "cyber-forget-corpus": {"train": [{"text": text} for text in texts]},
        "cyber-retain-corpus": {"train": documents("retain", 3)},
    }
    path = written(tmp_path / "corpora", corpora)
    with pytest.raises(ValueError, match=f"^data[.].*{words}"):
        load_corpus(WmdpData(path=str(path)), ForgetSplit())


@pytest.mark.parametrize("change", [{"question": None}, {"choices": None}, {"choices": ["a"]}, {"answer": 4}])
def test_questions_need_four_choices(change: Mapping[str, Any], wmdp: Path, tmp_path: Path) -> None:
    row = {"question": "Which?", "choices": list("abcd"), "answer": 0}
    asked = written(tmp_path / "asked", {"wmdp-cyber": {"test": [row, {**row, **change}]}})
    with pytest.raises(ValueError, match=r"^data.questions_path: row 1 of .*asked"):
        load_corpus(WmdpData(path=str(wmdp), questions_path=str(asked)), ForgetSplit())
