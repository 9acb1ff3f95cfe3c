"""What a text is looked through for: leavings of templates, refusals, personal data, damaged characters."""

import re

# Of chat and prompt templates: what a model would learn to write out.
MARKERS = re.compile(
    r"<\|(?:im_start|im_end|endoftext|eot_id|begin_of_text|start_header_id|end_header_id|user|assistant|end)\|>"
    r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
    r"|^###? ?(?:Instruction|Response|Human|Assistant) ?:|<noinput>",
    re.IGNORECASE | re.MULTILINE,
)
PLACEHOLDERS = re.compile(
    r"\{\{\s*[\w.\- ]{1,40}\s*\}\}|\{%.{1,60}?%\}|\[(?:your|insert|add) [\w ]{1,30}\]", re.IGNORECASE
)
REFUSAL = re.compile(
    r"\s*(?:i['’]?m (?:very |really )?sorry,? but|i apologi[sz]e,? but|sorry,? (?:but )?i (?:can|am)"
    r"|i (?:can ?not|can['’]t|am unable to|am not able to|won['’]t) (?:help|assist|comply|provide|fulfil|answer|do)"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model))",
    re.IGNORECASE,
)
CARD = re.compile(r"(?<![\d.])(?:\d[ -]?){12,18}\d(?!\d|\.\d)")
# Each with the word that stands for it where it is masked.
PERSONAL_KINDS = (
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{2,24}"), "[EMAIL]"),
    (
        re.compile(r"(?<![\w.])\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){2,3}(?!\w)"),
        "[PHONE]",  # with the code of a country
    ),
    (re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"), "[SSN]"),
    (re.compile(r"\b(?:sk-|ghp_|AKIA|xox[bp]-)[A-Za-z0-9_-]{16,}"), "[KEY]"),
    (CARD, "[CARD]"),
)
_PERSONAL_MARKS = ("@", "+", "-", "AKIA", "ghp_")
CONTROLS = re.compile("[\x00-\x08\x0e-\x1f]")
# What UTF-8 looks like when it was read as Latin-1, the replacement character, and controls.
DAMAGE = re.compile("\ufffd|[ÃÂ][\u0080-\u00bf]|â€[\u0080-\u00bf\u2122\u0153\u02dc\u201d]|[\x00-\x08\x0e-\x1f]")


def is_personal(text: str) -> bool:
    """Whether a text holds what looks like personal data."""
    # Most texts have none of what these patterns need, and looking for that first spares the patterns.
    if any(mark in text for mark in _PERSONAL_MARKS) and any(one.search(text) for one, _ in PERSONAL_KINDS[:-1]):
        return True
    return any(character.isdigit() for character in text) and any(map(is_card, CARD.finditer(text)))


def is_card(match: re.Match[str]) -> bool:
    """Whether the last digit of a run is the checksum of a payment card's number (Luhn)."""
    digits = "".join(filter(str.isdecimal, match.group()))
    if len(set(digits)) < 2 or digits[0] not in "3456":
        return False
    doubled = (int(digit) * 2 if at % 2 else int(digit) for at, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0
