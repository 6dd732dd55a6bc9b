"""Text data sets and their forget sets."""

from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator, model_validator

from hamu_ray.config.schema import Section
from hamu_ray.config.task.forget import ForgetSection
from hamu_ray.config.task.windows import LONGEST, PositiveInt, WindowsConfig

Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]

Argument = str | int | float | bool | None


def _items(arguments: Any) -> Any:
    """Return a mapping as sorted pairs, because sections must be hashable."""
    if isinstance(arguments, tuple):
        return arguments
    if not isinstance(arguments, dict) or not all(isinstance(name, str) for name in arguments):
        raise ValueError(
            f"expected keys and values, such as {{enable_thinking: false}}, found {arguments!r:.60}"
        )
    return tuple(sorted(arguments.items()))


Arguments = Annotated[
    tuple[tuple[str, Argument], ...],
    BeforeValidator(_items),
    PlainSerializer(dict),
]
"""Keyword arguments: a mapping in a file."""


class TextSection(Section):
    """Keys common to all text data."""

    task: ClassVar[str] = "language"
    forget_kinds: ClassVar[tuple[str, ...]] = ("split", "random", "indices", "where", "ids")

    path: str
    """Hub name or folder, passed to `datasets.load_dataset`."""
    question_column: str | None = "question"
    """Column of the questions; null for texts without questions."""
    answer_column: str = "answer"
    """Column of the text that is learned and forgotten: the loss is computed only on its tokens."""
    alternate_column: str | None = Field(default=None, min_length=1)
    """Column of second answers to the forget examples' questions, for methods that need them: a text or a list of
    texts, of which each example gets one. null: refusals."""
    refusals_path: str | None = Field(default=None, min_length=1)
    """File of refusals, one in a line, as second answers, such as TOFU's `idontknow.jsonl`. null: a built-in list.
    """
    template: Literal["chat", "plain"] | None = None
    """`chat`: the tokenizer's chat template; `plain`: `prompt`; null: chat if the tokenizer has a template."""
    prompt: str = "Question: {question}\nAnswer:"
    """Plain template of the text before an answer; the answer follows after a space."""
    system_prompt: str | None = Field(default=None, min_length=1)
    """Chat: the system message before every question."""
    template_arguments: Arguments = ()
    """Chat: keyword arguments of the template, such as `{enable_thinking: false}`."""
    template_date: str = "2024-07-26"
    """Chat: the date that the template uses as today's date, so that texts do not change from day to day."""
    max_length: int | None = Field(default=None, ge=8)
    """Maximum length of a prompt with its answer, in tokens. Longer answers are truncated, and the number of truncated
    tokens is reported as `dropped_tokens`; longer prompts are an error. null: 512, or the windows' length.
    """
    windows: WindowsConfig | None = None
    """Split longer texts instead of truncating them; null truncates."""
    retain_limit: PositiveInt | None = None
    """Use only the first examples of the retain split, up to this number."""
    forget_limit: PositiveInt | None = None
    """Use only the first examples of the forget split, up to this number."""
    test_share: float = Field(default=0.1, gt=0, lt=1)
    """Fraction of the retain examples held out for test; the same draw for every seed of a run."""
    validation: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the test examples that a sweep searches and selects by: `retain_utility` is measured on it, and all
    other metrics of the test set on the rest, which then chose nothing. The same draw for every seed. 0: none."""
    generated: PositiveInt = 400
    """Maximum number of greedy answers per split for ROUGE: the first examples are used."""
    new_tokens: PositiveInt | None = None
    """Maximum length of a greedy answer in tokens; null: the length of the longest true answer."""

    @property
    def holds_out(self) -> bool:
        """Whether test examples are held out of the retain examples."""
        return True

    @model_validator(mode="after")
    def _test_share_has_an_effect(self) -> "TextSection":
        if not self.holds_out and self.test_share != TextSection.model_fields["test_share"].default:
            raise ValueError(
                f"test_share: {self.test_share} has no effect, as a split of the data has the test examples; remove it"
            )
        return self

    @model_validator(mode="after")
    def _question_has_its_place(self) -> "TextSection":
        if self.question_column is not None and "{question}" not in self.prompt:
            raise ValueError(f"prompt: must contain {{question}}, found {self.prompt!r}")
        if self.question_column is None and self.template == "chat":
            raise ValueError("template: chat needs a question_column; use plain")
        return self

    @model_validator(mode="after")
    def _one_kind_of_second_answers(self) -> "TextSection":
        if self.refusals_path is not None and self.alternate_column is not None:
            raise ValueError(
                "refusals_path: second answers come from alternate_column; set one of them to null"
            )
        if self.refusals_path is not None and self.question_column is None:
            raise ValueError("refusals_path: texts without questions cannot be refused; remove it")
        return self

    @model_validator(mode="after")
    def _chat_keys_need_a_chat(self) -> "TextSection":
        if self.template == "plain" or self.question_column is None:
            for key in ("system_prompt", "template_arguments"):
                if getattr(self, key):
                    raise ValueError(f"{key}: requires the chat template; put it into prompt")
        return self

    @model_validator(mode="after")
    def _one_longest(self) -> "TextSection":
        if self.windows is not None and self.max_length not in (None, self.windows.length):
            raise ValueError(
                f"max_length: {self.max_length} is not the windows' length ({self.windows.length}); set it to null"
            )
        return self

    @field_validator("template_date", mode="before")
    @classmethod
    def _is_a_date(cls, given: Any) -> Any:
        """YAML parses 2024-07-26 without quotes as a date."""
        text = given.isoformat() if isinstance(given, date) else given
        try:
            date.fromisoformat(text)
        except (ValueError, TypeError):
            raise ValueError(f"{text!r} is not a date; write it as 2024-07-26") from None
        return text

    @property
    def may_have_paraphrases(self) -> bool:
        """Whether the data can have other wordings of their texts, for the attack `paraphrase`."""
        return False

    @property
    def has_second_answers(self) -> bool:
        """Whether forget examples have second answers: refusals of a question, or alternatives in the data."""
        return self.question_column is not None or self.alternate_column is not None

    @property
    def longest(self) -> int:
        """Maximum length of a text or window in tokens, which the model must support."""
        return self.windows.length if self.windows is not None else self.max_length or LONGEST


class TofuData(TextSection):
    """TOFU (Maini et al. 2024, arXiv 2401.06121): questions about fictitious authors.

    In the layout of WaterDrum-TOFU, which has duplicates of the forget set, or of the original data set.
    """

    name: Literal["tofu"] = "tofu"
    path: str = "Glow-AI/WaterDrum-TOFU"
    """Hub name or folder: `Glow-AI/WaterDrum-TOFU`, `locuslab/TOFU`, or another data set in one of their layouts."""
    layout: Literal["waterdrum", "locuslab"] = "waterdrum"
    """Naming of configurations and splits."""
    subset: Literal["forget_01", "forget_05", "forget_10"] = "forget_10"
    """The authors to forget: 1 %, 5 % or 10 % of 200."""
    duplicates: Literal["none", "exact", "semantic"] = "none"
    """Duplicates added to the retain set, and thus to the original model's training: exact copies of the forget set, or
    paraphrases. Both make forgetting harder.
    """
    test_subset: str | None = None
    """Configuration whose split `train` contains the test examples, such as `holdout10` of `locuslab/TOFU`, which
    published original models were not trained on. null holds out `test_share` of the retain examples, which such models
    were trained on."""
    utility: Literal["model_utility", "test_prob"] = "model_utility"
    """Definition of `retain_utility` if the evaluation sets exist. A model trained only on TOFU knows no real authors,
    so its `model_utility` is always close to zero."""

    @property
    def holds_out(self) -> bool:
        """Whether test examples are held out of the retain examples."""
        return self.test_subset is None

    @property
    def may_have_paraphrases(self) -> bool:
        """Whether the evaluation sets can have other wordings."""
        return True

    @model_validator(mode="after")
    def _layout_has_duplicates(self) -> "TofuData":
        if self.layout == "locuslab" and self.duplicates != "none":
            raise ValueError(
                "duplicates: not available in the locuslab layout; use none, or layout waterdrum"
            )
        return self


class TextData(TextSection):
    """Any text data set that `datasets.load_dataset` can load: questions and answers, or plain texts."""

    name: Literal["text"] = "text"
    subset: str | None = None
    """Name of the data set's configuration, if it has several."""
    train_split: str = "train"
    """Split of the training examples; with a separate forget split, the retain examples."""
    test_split: str | None = None
    """Split of the test examples; null holds out `test_share` of the retain examples."""
    paraphrased_question_column: str | None = None
    """Column of other wordings of the questions, a text or a list of texts in each row, or empty; null: there are none.
    Nothing is trained on them: the attack `paraphrase` of an audit asks with them."""
    paraphrased_answer_column: str | None = None
    """The same for the answers."""

    @property
    def holds_out(self) -> bool:
        """Whether test examples are held out of the retain examples."""
        return self.test_split is None

    @property
    def may_have_paraphrases(self) -> bool:
        """Whether the rows have other wordings."""
        return bool(self.paraphrased_question_column or self.paraphrased_answer_column)

    @model_validator(mode="after")
    def _paraphrased_questions_have_questions(self) -> "TextData":
        if self.paraphrased_question_column is not None and self.question_column is None:
            raise ValueError("paraphrased_question_column: needs a question_column; remove it")
        return self


class ForgetSplit(ForgetSection):
    """A split of the data set."""

    kind: Literal["split"] = "split"
    split: str = "forget"
    """Name of the split."""
