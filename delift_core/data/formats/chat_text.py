"""Texts in a chat template, split into turns.

A text counts as a conversation only if one template matches all of it: the text begins with a marker (or with a
preamble, in templates that allow one), every marker names a known role, and the assistant answers a user.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from delift_core.data.formats.base import PART_SEPARATOR, known_role
from delift_core.data.formats.turn_spellings import openai_call

Turn = Mapping[str, object]

_TOKENS = (
    r"</?s>|</?bos>|<eos>|<BOS_TOKEN>|<\|(?:im_end|endoftext|end_of_text|begin_of_text|startoftext|eot_id|eom_id|eot|end"
    r"|return|end_of_turn|END_OF_TURN_TOKEN|endofturn)\|>|<end_of_turn>|<｜(?:begin|end)▁of▁sentence｜>|\[\|endofturn\|\]"
    r"|\[gMASK\]|<sop>|<eo[ah]>|\[/SYSTEM_PROMPT\]"
)
_TOKEN = re.compile(_TOKENS)
_LAST = re.compile(rf"(?:{_TOKENS}|^### ?End)\Z", re.MULTILINE)
_LEADING = re.compile(rf"\A(?:\s|{_TOKENS})+")
_SYSTEM = re.compile(r"<<SYS>>(.*?)<</SYS>>(.*)\Z", re.DOTALL)
_ALPACA_OPENS = re.compile(r"Below is an instruction that describes a task")
_ALPACA = re.compile(r"Below is an instruction that describes a task.*?completes the request\.?\s*\Z", re.DOTALL)
_CALL = re.compile(r"<functioncall>\s*\{\s*\"name\":\s*\"([^\"]+)\",\s*\"arguments\":(.*)\}\Z", re.DOTALL)
_HEADINGS = "Instruction|Input|Context|Response|Output|System|User|Human|Assistant|Question|Answer|Prompt|Bot|GPT"
_NAMES = "System|User|Human|Assistant|AI|Bot|Chatbot|ChatGPT|GPT|Customer|Agent|Prompter|Model"
_ROLE_WORDS = {
    "input": "more",  # is appended to the instruction before it
    "context": "more",
    "question": "user",
    "prompt": "user",
    "response": "assistant",
    "answer": "assistant",
    "output": "assistant",
    "[inst]": "user",
    "[/inst]": "assistant",
    "[system_prompt]": "system",
    "function_response": "tool",
}


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template."""

    marker: re.Pattern[str]  # matches the start of a turn; the group `role`, or else the whole match, names the role
    preamble: bool = False  # whether text may precede the first marker; it is read as a system text
    sign: str = ""  # a string that is in every text of a template with a preamble
    words: bool = False  # whether the markers are words with a colon, which occur in other texts too


# Tried in this order: unambiguous markers first.
TEMPLATES = (
    Template(re.compile(r"<\|im_start\|>(?P<role>\w+)(?:\n|<\|im_sep\|>)")),  # ChatML, Phi-4
    Template(re.compile(r"<\|im_(?:system|user|assistant)\|>(?P<role>\w+)<\|im_middle\|>")),  # Kimi
    Template(re.compile(r"<\|start_header_id\|>(?P<role>\w+)<\|end_header_id\|>")),  # Llama 3
    Template(re.compile(r"<\|header_start\|>(?P<role>\w+)<\|header_end\|>")),  # Llama 4
    Template(re.compile(r"<\|start_of_role\|>(?P<role>\w+)<\|end_of_role\|>")),  # Granite
    Template(re.compile(r"<\|start\|>(?P<role>\w+)(?:<\|channel\|>(?P<channel>\w+))?<\|message\|>")),  # gpt-oss
    Template(re.compile(r"<start_of_turn>(?P<role>\w+)\n")),  # Gemma
    Template(re.compile(r"<\|START_OF_TURN_TOKEN\|><\|(?P<role>\w+)_TOKEN\|>")),  # Command
    Template(re.compile(r"\[INST\]|\[/INST\]|\[SYSTEM_PROMPT\]")),  # Llama 2, Mistral
    Template(re.compile(r"<｜(?P<role>User|Assistant)｜>"), preamble=True, sign="<｜"),  # DeepSeek
    Template(re.compile(r"\[\|(?P<role>Human|AI|User|Assistant|System)\|\]", re.IGNORECASE), preamble=True, sign="[|"),
    Template(re.compile(r"<extra_id_[01]>(?P<role>System|User|Assistant)\n")),  # Nemotron
    # Phi-3, Zephyr, Tulu, StableLM
    Template(re.compile(r"<\|(?P<role>system|user|assistant|prompter|model|tool|observation)\|>", re.IGNORECASE)),
    Template(re.compile(r"(?:GPT4 Correct|GPT4|GPT3|Code|Math Correct) (?P<role>User|Assistant):")),  # OpenChat
    Template(re.compile(r"^<(?P<role>human|bot|user|assistant|system)>:", re.MULTILINE)),
    # Alpaca and its variants; Guanaco's markers may be inside a line.
    Template(
        re.compile(
            rf"^#{{2,4}} ?(?P<role>{_HEADINGS}) ?:"
            r"|^### ?(?P<bare>Instruction|Input|Response|User|Assistant|System)(?=\n)"
            r"|### ?(?P<inner>Human|Assistant|User|System) ?:",
            re.MULTILINE,
        ),
        preamble=True,
        sign="##",
    ),
    Template(re.compile(r"\n\n(?P<role>Human|Assistant|System):")),  # Anthropic's preference data
    # Vicuna, Glaive
    Template(
        re.compile(r"(?:(?<=\s)|(?<=>)|(?<![\w\W]))(?P<role>USER|ASSISTANT|SYSTEM|HUMAN|FUNCTION[ _]RESPONSE):"),
        preamble=True,
        sign="ASSISTANT:",
        words=True,
    ),
    Template(re.compile(rf"^(?P<role>{_NAMES}) ?:(?=\s)", re.MULTILINE | re.IGNORECASE), words=True),
)


def split_turns(text: str) -> tuple[Turn, ...] | None:
    """The turns of a text in a known chat template; None for any other text."""
    begin = _LEADING.match(text)
    starts = {0, begin.end() if begin else 0}
    for template in TEMPLATES:
        if template.sign in text if template.preamble else any(template.marker.match(text, at) for at in starts):
            turns = _turns_by(text, template)
            if turns is not None:
                return turns
    return None


def starts_with_marker(text: str) -> bool:
    """Whether a text begins with an unambiguous marker, even if its turns cannot be split."""
    begin = _LEADING.match(text)
    at = begin.end() if begin else 0
    return any(one.marker.match(text, at) for one in TEMPLATES if not one.words) or bool(_ALPACA_OPENS.match(text, at))


def _turns_by(text: str, template: Template) -> tuple[Turn, ...] | None:
    markers = list(template.marker.finditer(text))
    if not markers or markers[0].start() > 20_000:
        return None
    preamble = _LEADING.sub("", _strip_end_tokens(text[: markers[0].start()])).strip()
    if preamble and not template.preamble:
        return None
    turns: list[tuple[str, str]] = []
    if preamble and not _ALPACA.fullmatch(preamble):
        turns.append(("system", preamble))
    ends = [marker.start() for marker in markers[1:]] + [len(text)]
    for marker, end in zip(markers, ends, strict=True):
        body = _strip_end_tokens(text[marker.end() : end]).lstrip()
        word = _role_of_marker(marker)
        if word is None or _TOKEN.search(body):
            return None
        if word == "more" and turns and turns[-1][0] == "user":
            turns[-1] = ("user", PART_SEPARATOR.join(part for part in (turns[-1][1], body) if part))
        elif word == "more":
            return None
        elif body or word != "system":
            turns += _with_system_block(word, body)
    answers = [at for at, (role, body) in enumerate(turns) if role == "assistant" and body]
    asked = answers and any(role == "user" and body for role, body in turns[: answers[-1]])
    return tuple(_as_turns(turns)) if asked else None


def _strip_end_tokens(text: str) -> str:
    """A text without the whitespace and the special tokens at its end."""
    text = text.rstrip()
    while (last := _LAST.search(text, max(0, len(text) - 40))) is not None:
        text = text[: last.start()].rstrip()
    return text


def _role_of_marker(marker: re.Match[str]) -> str | None:
    groups = {key: value for key, value in marker.groupdict().items() if value}
    if groups.get("channel") in ("analysis", "commentary"):
        return "thought"
    word = next((groups[key] for key in ("role", "bare", "inner") if key in groups), marker.group()).lower()
    return _ROLE_WORDS.get(word) or known_role(word)


def _with_system_block(role: str, body: str) -> Iterator[tuple[str, str]]:
    system = _SYSTEM.match(body) if role == "user" else None
    if system:
        yield "system", system[1].strip()
    yield role, system[2].strip() if system else body


def _as_turns(turns: Sequence[tuple[str, str]]) -> Iterator[Turn]:
    thought = ""
    for role, body in turns:
        call = _CALL.match(body) if role == "assistant" else None
        if role == "thought":
            thought = body
        elif call:
            arguments = call[2].strip().strip("'") or "{}"
            yield {"role": role, "content": None, "tool_calls": [openai_call(call[1], arguments)]}
        else:
            own = {"reasoning_content": thought} if thought and role == "assistant" else {}
            thought = "" if role == "assistant" else thought
            yield {"role": role, "content": body, **own}
