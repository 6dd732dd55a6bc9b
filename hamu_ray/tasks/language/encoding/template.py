"""Templates of a question and its answer: the tokenizer's chat template, or a plain one."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Any

from hamu_ray.config.task.language import TextSection
from hamu_ray.tasks.models.hub import one_line

QUESTION, ANSWER = "HamuRayQuestionSlot", "HamuRayAnswerSlot"
"""Placeholders for the question and the answer: words that templates do not change."""

SLOTS = re.compile(f"{QUESTION}|{ANSWER}")

BLANK = "\t\t"
"""White space around a placeholder that shows whether a template strips its inputs."""


DATES = "hamu_ray_dates"

PINNED = (
    f"{{%- macro strftime_now(format) -%}}{{{{ {DATES}[format] if format in {DATES} "
    "else raise_exception('a date format that is not written in the template') }}{%- endmacro -%}"
)
"""Replaces the function by which templates read today's date; `transformers` accepts no replacement for it."""

FORMATS = re.compile(r"""'([^'\n]*%[^'\n]*)'|"([^"\n]*%[^"\n]*)\"""")
"""Strings in a template that may be date formats."""


@dataclass(frozen=True)
class Template:
    """A prompt, and the prompt with its answer and the end of the turn, with placeholders for both texts.

    A chat template is rendered once with placeholders, so that the content of a text cannot change its surroundings.
    """

    prompt: str
    whole: str
    strips: bool = False
    """Whether white space around a question or an answer is stripped."""

    @property
    def ending(self) -> str:
        """The text after an answer."""
        return self.whole.partition(ANSWER)[2]

    def filled(self, question: str, answer: str) -> tuple[str, str]:
        """Return the prompt of a question, and the prompt with the answer."""
        texts = {QUESTION: question, ANSWER: answer}
        if self.strips:
            texts = {slot: text.strip() for slot, text in texts.items()}
        prompt, whole = (SLOTS.sub(lambda slot: texts[slot[0]], text) for text in (self.prompt, self.whole))
        return prompt, whole


def plain_template(tokenizer: Any, config: TextSection) -> Template:
    """Return the configured prompt; without questions, only the token that begins a text."""
    begin = tokenizer.bos_token or ""
    if config.question_column is None:
        begin = begin or tokenizer.eos_token
        return Template(begin, f"{begin}{ANSWER}")
    # Not str.format: the prompt may contain braces.
    prompt = begin + config.prompt.replace("{question}", QUESTION)
    return Template(prompt, f"{prompt} {ANSWER}")


def chat_template(tokenizer: Any, config: TextSection, system: str | None) -> Template:
    """Return the tokenizer's chat template, rendered with placeholders.

    The prompt ends where the model would start to generate, or at the answer if that is later: an empty reasoning block
    before an answer belongs to the prompt.

    Raises `ValueError` for a template that cannot be rendered, or does not contain question and answer once each.
    """
    name = tokenizer.name_or_path or "the tokenizer"
    template = tokenizer.get_chat_template()
    arguments: dict[str, Any] = dict(config.template_arguments)
    if "strftime_now" in template:
        day = date.fromisoformat(config.template_date)
        arguments[DATES] = {text: day.strftime(text) for found in FORMATS.findall(template) for text in found}
        template = PINNED + template

    def rendered(blank: str, *, answered: bool) -> str:
        messages = [{"role": "user", "content": f"{blank}{QUESTION}{blank}"}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        if answered:
            messages.append({"role": "assistant", "content": f"{blank}{ANSWER}{blank}"})
        try:
            return tokenizer.apply_chat_template(
                messages,
                chat_template=template,
                tokenize=False,
                add_generation_prompt=not answered,
                **arguments,
            )
        except Exception as error:  # jinja raises many unrelated types
            key = "system_prompt" if system is not None else "template"
            raise ValueError(
                f"data.{key}: the chat template of {name} cannot be used: {one_line(error)}; set it to "
                f"{'null' if system is not None else 'plain'}"
            ) from error

    generation, whole = rendered("", answered=False), rendered("", answered=True)
    if [whole.count(slot) for slot in (QUESTION, ANSWER)] != [1, 1] or whole.index(QUESTION) > whole.index(
        ANSWER
    ):
        raise ValueError(
            f"data.template: the chat template of {name} does not contain the question and then the answer, once each; "
            "use plain"
        )
    before = whole.partition(ANSWER)[0]
    begins_later = before.startswith(generation) and before != generation
    if begins_later and before.removeprefix(generation).strip():
        prompt = before
    else:
        prompt = generation if generation.startswith(before.rstrip()) else before
    whole = whole if whole.startswith(prompt) else prompt + whole.removeprefix(before)
    return Template(prompt, whole, strips=f"{BLANK}{ANSWER}{BLANK}" not in rendered(BLANK, answered=True))
