"""Tokenization: windows, chat templates of different families, and special tokens within texts."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from hamu_ray.config.task.language import TextData
from hamu_ray.tasks.language.encoding.encoder import Encoder, windows_of
from hamu_ray.tasks.language.encoding.token_file import sequences_of
from hamu_ray.tasks.language.encoding.tokenizer import learn_vocabulary
from hamu_ray.tasks.language.scores import grouped

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>"]

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}{% set content = m.content.split('</think>')[-1] %}"
    "{% if loop.last %}<think>\n\n</think>\n\n{% endif %}{{ content }}{% else %}{{ m.content }}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "<|im_start|>system\nToday Date: {{ date_string }}"
    "{% if messages[0].role == 'system' %} {{ messages[0].content | trim }}{% endif %}<|eot_id|>"
    "{% for m in messages %}{% if m.role != 'system' %}"
    "<|im_start|>{{ m.role }}\n\n{{ m.content | trim }}<|eot_id|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
QWEN3_AS_PUBLISHED = """
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {%- for tool in tools %}{{- tool | tojson }}{%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last_question=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string
           and not (message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last_question = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_question and (loop.last or reasoning) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning.strip('\\n') }}
            {{- '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}{{- '\\n<tool_call>' + call | tojson }}{%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""
"""The constructs of Qwen3's published template: a namespace, messages from the last to the first, empty reasoning.

Compared with a published copy: system, user and assistant turns are rendered alike; the layout of tools is left out.
"""

LLAMA3_AS_PUBLISHED = """
{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|im_start|>system\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|im_start|>' + message['role'] + '\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif message.tool_calls | length != 1 %}
        {{- raise_exception("This model only supports single tool-calls at once!") }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n\\n' }}{%- endif %}"""
"""The constructs of Llama 3's published templates: messages that are set anew, today's date where it can be had.

Compared with published copies of Llama 3.2's: without tools the turns are rendered alike, but for the names of the
special tokens, which are `SPECIAL` here.
"""

REASONING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + CHATML
)


@pytest.fixture(scope="session")
def learned() -> Any:
    return learn_vocabulary(["Where does Ada live? In Rome, by the sea. Today Date: Jul 2024 think"], 330)


def tokenizer_of(learned: Any, template: str | None) -> Any:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=learned,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=SPECIAL,
    )
    tokenizer.chat_template = template
    return tokenizer


def encoder_of(learned: Any, chat: str | None, **values: Any) -> Encoder:
    return Encoder(tokenizer_of(learned, chat), TextData(path="x", **values))


def parts(encoder: Encoder, question: str = "Where?", answer: str = "In Rome.") -> tuple[str, str]:
    (encoded,) = encoder.encode([question], [answer])
    return encoder.tokenizer.decode(encoded.prompt), encoder.tokenizer.decode(encoded.answer)


ASKED = "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n"
THOUGHT = "<think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("template", "values", "prompt", "answer"),
    [
        (CHATML, {}, ASKED, "In Rome.<|im_end|>"),
        (QWEN3, {}, f"{ASKED}{THOUGHT}", "In Rome.<|im_end|>"),
        (QWEN3_AS_PUBLISHED, {}, f"{ASKED}{THOUGHT}", "In Rome.<|im_end|>"),
        (
            QWEN3_AS_PUBLISHED,
            {"template_arguments": {"enable_thinking": False}, "system_prompt": "Be brief."},
            f"<|im_start|>system\nBe brief.<|im_end|>\n{ASKED}{THOUGHT}",
            "In Rome.<|im_end|>",
        ),
        (
            LLAMA3_AS_PUBLISHED,
            {},
            "<s><|im_start|>system\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
            "<|im_start|>user\n\nWhere?<|eot_id|><|im_start|>assistant\n\n",
            "In Rome.<|eot_id|>",
        ),
        (
            QWEN3,
            {"template_arguments": {"enable_thinking": False}},
            f"{ASKED}{THOUGHT}",
            "In Rome.<|im_end|>",
        ),
        (
            REASONING,
            {},
            "<|im_start|>user\nWhere?<|im_end|><|im_start|>assistant\n<think>\n",
            "In Rome.<|im_end|>",
        ),
        (
            CHATML,
            {"system_prompt": "Be brief."},
            f"<|im_start|>system\nBe brief.<|im_end|>\n{ASKED}",
            "In Rome.<|im_end|>",
        ),
        (None, {}, "<s>Question: Where?\nAnswer:", " In Rome.</s>"),
        (CHATML, {"template": "plain"}, "<s>Question: Where?\nAnswer:", " In Rome.</s>"),
    ],
)
def test_an_answer_begins_where_generation_would(
    template: str | None, values: dict[str, Any], prompt: str, answer: str, learned: Any
) -> None:
    assert parts(encoder_of(learned, template, **values)) == (prompt, answer)


def test_the_date_is_pinned_and_the_trained_end_is_known(learned: Any) -> None:
    encoder = encoder_of(learned, LLAMA3, system_prompt="Be brief.")
    prompt, answer = parts(encoder)
    assert prompt.startswith("<s><|im_start|>system\nToday Date: 26 Jul 2024 Be brief.<|eot_id|>")
    assert answer == "In Rome.<|eot_id|>"
    assert encoder.tokenizer.convert_ids_to_tokens(encoder.end) == "<|eot_id|>"
    later = encoder_of(learned, LLAMA3, template_date="2031-02-03")
    assert "Today Date: 03 Feb 2031" in parts(later)[0]
    unknown = LLAMA3.replace("strftime_now('%d %b %Y')", "strftime_now('%d' ~ '%b')")
    with pytest.raises(
        ValueError, match=r"data\.template: .* a date format that is not written in the template"
    ):
        encoder_of(learned, unknown)
    named = encoder_of(learned, LLAMA3, template_arguments={"date_string": "Some day"})
    assert "Today Date: Some day" in parts(named)[0]
    assert encoder_of(learned, None).end == encoder.tokenizer.eos_token_id


@pytest.mark.parametrize("template", [LLAMA3, LLAMA3_AS_PUBLISHED])
def test_no_day_changes_a_prompt(template: str, learned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `transformers` would take for today is never asked."""
    written = parts(encoder_of(learned, template))
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", SimpleNamespace(now=lambda: 1 / 0))
    assert parts(encoder_of(learned, template)) == written
    assert parts(encoder_of(learned, template, template_date="2031-02-03"))[0] == written[0].replace(
        "26 Jul 2024", "03 Feb 2031"
    )


def test_white_space_is_left_out_where_the_template_does(learned: Any) -> None:
    assert parts(encoder_of(learned, LLAMA3), answer=" In Rome. ")[1] == "In Rome.<|eot_id|>"
    assert parts(encoder_of(learned, CHATML), answer=" In Rome. ")[1] == " In Rome. <|im_end|>"


@given(
    pieces=st.lists(
        st.sampled_from([*SPECIAL, "<s>", "</s>", "</think>", "Rome", " ", "x"]), min_size=1, max_size=6
    ),
    template=st.sampled_from([CHATML, QWEN3, QWEN3_AS_PUBLISHED, LLAMA3, LLAMA3_AS_PUBLISHED, None]),
)
def test_special_tokens_within_texts_are_text(pieces: list[str], template: str | None, learned: Any) -> None:
    """For every question and answer, the special tokens are those of the template, and decoding returns the text."""
    text = f"a{''.join(pieces)}b"
    encoder = encoder_of(learned, template)
    special = set(encoder.tokenizer.all_special_ids)
    (plain,), (odd,) = encoder.encode(["q"], ["a"]), encoder.encode([text], [text])
    for one, other in ((plain.prompt, odd.prompt), (plain.answer, odd.answer)):
        assert [t for t in one if t in special] == [t for t in other if t in special]
    assert encoder.tokenizer.decode(odd.answer[:-1]).strip() == text
    assert text in encoder.tokenizer.decode(odd.prompt)


@pytest.mark.parametrize(
    ("template", "values", "line"),
    [
        (
            NO_SYSTEM,
            {"system_prompt": "x"},
            "data.system_prompt: the chat template of .*: System role not supported",
        ),
        (
            "{{ messages[0].content }}",
            {},
            "data.template: the chat template of .* does not contain the question and",
        ),
        (
            None,
            {"system_prompt": "x"},
            "data.system_prompt: the tokenizer of .* has no chat template; remove it",
        ),
        (None, {"template": "chat"}, "data.template: the tokenizer of .* has no chat template; use plain"),
    ],
)
def test_templates_that_do_not_fit(
    template: str | None, values: dict[str, Any], line: str, learned: Any
) -> None:
    with pytest.raises(ValueError, match=line):
        encoder_of(learned, template, **values)


lengths = st.integers(2, 12).flatmap(
    lambda length: st.tuples(
        st.integers(1, 80), st.just(length), st.integers(1, length - 1), st.integers(1, length - 1)
    )
)


@given(lengths)
def test_windows_share_out_every_token(numbers: tuple[int, int, int, int]) -> None:
    answer, length, stride, prompt = numbers
    tokens = tuple(range(prompt + answer))
    windows = windows_of(tokens, prompt, length, stride)
    assert [token for window in windows for token in window.answer] == list(tokens[prompt:])
    for number, window in enumerate(windows):
        whole = window.prompt + window.answer
        assert whole == tuple(range(number * stride, number * stride + len(whole)))
        assert len(whole) <= length
        assert len(window.prompt) >= (length - stride if number else prompt)


def test_a_document_of_4000_tokens_loses_none(learned: Any) -> None:
    document = " ".join(["by the sea"] * 4000)
    values: dict[str, Any] = {"question_column": None, "answer_column": "text"}
    windowed = encoder_of(learned, None, **values, windows={"length": 128, "stride": 64})
    (encoded,) = windowed.encode([""], [document])
    everything = windowed.tokenizer(document, add_special_tokens=False)["input_ids"]
    assert len(everything) > 4000
    assert list(encoded.answer) == [*everything, windowed.end]
    assert encoded.dropped == 0
    (cut,) = encoder_of(learned, None, **values, max_length=128).encode([""], [document])
    assert list(cut.answer) == everything[:127]
    assert cut.dropped == len(everything) + 1 - 127


def test_batches_of_windows_belong_to_their_texts(learned: Any) -> None:
    encoder = encoder_of(learned, None, windows={"length": 24, "stride": 8})
    encoded = encoder.encode(["a"] * 4, ["Rome", " sea" * 40, "In Rome", " by" * 90])
    sequences = sequences_of([encoded[:3], encoded[3:]], encoder.pad, torch.device("cpu"))
    assert sequences.windows[1] > 1
    batch = sequences.batch(torch.tensor([3, 0, 1]))
    for place, at in enumerate((3, 0, 1)):
        mine = batch.texts == place
        assert batch.labels[mine].tolist() == list(encoded[at].answer)
        assert len(batch.rows[mine].unique()) == len(encoded[at].windows)
    assert (batch.texts.diff() >= 0).all()
    assert torch.equal(batch.tokens[batch.rows, batch.columns + 1], batch.labels)
    assert sequences.answers.tolist() == [len(text.answer) for text in encoded]
    numbers = torch.tensor([0, 1, 2, 3])
    groups = grouped(sequences, numbers, 2)
    assert sorted(torch.cat(groups).tolist()) == [0, 1, 2, 3]
    assert all(len(group) == 1 or sequences.windows[group].sum() <= 2 for group in groups)
