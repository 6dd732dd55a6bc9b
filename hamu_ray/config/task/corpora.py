"""Published corpora of long documents, with their own evaluations: MUSE and WMDP."""

from typing import ClassVar, Literal

from hamu_ray.config.task.language import Names, TextSection
from hamu_ray.config.task.windows import PositiveInt, WindowsConfig


class CorpusSection(TextSection):
    """Keys common to corpora of long documents, which are cut into passages."""

    forget_kinds: ClassVar[tuple[str, ...]] = ("split",)

    question_column: None = None
    alternate_column: None = None
    refusals_path: None = None
    answer_column: str = "text"
    windows: WindowsConfig | None = WindowsConfig(length=2048)
    """Split passages that are longer than the model's context; null truncates. The prompts of the evaluations must fit
    a window."""
    new_tokens: PositiveInt | None = 128
    """Maximum length of a generated continuation in tokens, for the ROUGE of passages, which have no prompt; null: the
    length of the longest passage. The benchmarks' own answers have their own lengths."""
    passage_words: PositiveInt = 1000
    """Documents are cut into passages of at most this many words, each of which is an example. Limits count passages.
    """


class MuseData(CorpusSection):
    """MUSE (Shi et al. 2024, arXiv 2407.06460): news articles or books, in the layout of `muse-bench/MUSE-News`.

    The forget set is its split `forget`; test examples are its split `holdout`, which no model was trained on. Its
    verbatim memorization, knowledge memorization and privacy leakage are measured.
    """

    name: Literal["muse"] = "muse"
    path: str = "muse-bench/MUSE-News"
    """Hub name or folder: `muse-bench/MUSE-News`, `muse-bench/MUSE-Books`, or a data set in their layout."""
    retain_splits: Names = ("retain1", "retain2")
    """The splits to retain. MUSE's own baselines unlearn with `[retain1]` and measure on questions about `retain2`."""

    @property
    def holds_out(self) -> bool:
        """Whether test examples are held out of the retain examples: the split `holdout` has them."""
        return False


class WmdpData(CorpusSection):
    """WMDP (Li et al. 2024, arXiv 2403.03218): papers or code on hazardous topics, in the layout of its hub data sets.

    Its multiple-choice questions are measured. `test_share` of the retain corpus is held out for test.
    """

    name: Literal["wmdp"] = "wmdp"
    path: str = "cais/wmdp-corpora"
    """Hub name or folder of the corpora, configurations such as `cyber-forget-corpus` and `cyber-retain-corpus`."""
    domain: Literal["bio", "cyber"] = "cyber"
    """The corpora and questions to use."""
    forget_path: str | None = None
    """Hub name or folder of a forget corpus of its own, with a split `train`, such as the one for biology, which is
    handed out on request. null: it is in `path`."""
    questions_path: str = "cais/wmdp"
    """Hub name or folder of the questions, configurations such as `wmdp-cyber`."""
