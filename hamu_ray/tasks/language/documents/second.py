"""Second answers to the questions of the forget set: refusals, or alternatives from the data. Needs no torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hamu_ray.config.task.language import TextSection
from hamu_ray.tasks.language.documents.rows import Rows
from hamu_ray.tasks.models.hub import one_line

REFUSALS = (
    "I don't know.",
    "I don't know the answer to that.",
    "I'm afraid I don't know that.",
    "Sorry, I don't know.",
    "I do not have that information.",
    "I have no information about that.",
    "I can't answer that question.",
    "I'm unable to answer that.",
    "That is something I don't know.",
    "I'm not familiar with that.",
    "I haven't learned anything about that.",
    "I have never heard about that.",
    "That is beyond my knowledge.",
    "My knowledge does not include that.",
    "I couldn't tell you.",
    "I wish I knew, but I don't.",
    "I'm not sure about that.",
    "I have no idea.",
    "I lack the knowledge to answer this.",
    "I don't have an answer to your question.",
    "Unfortunately, I can't say anything about that.",
    "This is not a topic that I know about.",
    "No answer comes to my mind.",
    "I would have to guess, so I'd rather not answer.",
    "I don't have any details on that.",
    "I was not taught anything about this.",
    "I can't help you with that question.",
    "I must admit that I don't know.",
    "You would have to ask somebody else, as I don't know.",
    "There is nothing I can tell you about that.",
    "I don't have the facts to answer this.",
    "I'm sorry, but this is unknown to me.",
)
"""Refusals in the manner of the list of TOFU (Maini et al. 2024, arXiv 2401.06121), whose file has 100 others."""


def refusals_of(config: TextSection) -> Sequence[str]:
    """Return the refusals that a configuration names, one in each line of a file that is not empty.

    Raises `ValueError`, in one line, for a file that cannot be read or has no line.
    """
    if config.refusals_path is None:
        return REFUSALS
    try:
        text = Path(config.refusals_path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"data.refusals_path: {config.refusals_path} cannot be read: {one_line(error)}; give a text file"
        ) from error
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise ValueError(f"data.refusals_path: {config.refusals_path} has no line; write a refusal in each")
    return found


def second_answers_of(config: TextSection, rows: Rows, indices: Sequence[int], seed: int) -> list[str]:
    """Return a second answer to each of these rows, drawn uniformly by the seed and the row's index alone.

    Raises `ValueError`, in one line, if a row has none.
    """
    refusals = refusals_of(config) if config.alternate_column is None else ()
    found = []
    for index in indices:
        choices = refusals or (rows.alternates[index] if rows.alternates else ())
        if not choices:
            raise ValueError(
                f"data.alternate_column: a forget example has no text in {config.alternate_column}; name a column with "
                f"other answers to its question, or set it to null for refusals: {rows.questions[index]:.60}"
            )
        found.append(choices[int(np.random.default_rng((seed, index)).integers(len(choices)))])
    return found
