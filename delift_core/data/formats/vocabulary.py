"""The words of instruction data sets: role words, and the keys under which records keep turns and texts."""

from collections.abc import Mapping

from delift_core.samples import Role

_ROLE_WORDS: dict[Role, str] = {
    "system": "system developer systemmessage",
    "user": "user human instruction prompter customer client end_user humanmessage",
    # A function call is written by the model, so it is an assistant turn; its result is a tool turn.
    "assistant": "assistant ai ai_assistant chatbot agent llm claude gpt4 gpt-4 gpt chatgpt bard bing bot model "
    "function_call tool_call functioncall toolcall aimessage",
    "tool": "tool function observation tool_response tool_result tool_results function_response ipython toolmessage "
    "functionmessage",
}
ROLES: dict[str, Role] = {word: role for role, words in _ROLE_WORDS.items() for word in words.split()}
ROLES["function response"] = "tool"  # Glaive

# Keys of a list of turns that trainers read, in the order in which they are tried.
LIST_KEYS = ("messages", "conversations", "conversation", "items")
# Other formats use these keys too, so a list of turns is looked for under them only if no other format fits.
MORE_LIST_KEYS = (
    *("dialog", "dialogue", "dialogs", "dialogues", "chat", "chat_messages", "chat_history", "conversation_history"),
    *("message_history", "history", "contents", "utterances", "turns", "thread", "transcript", "trajectory", "data"),
)
# Keys of a list of strings that alternate between user and assistant.
STRING_LIST_KEYS = (
    *("messages", "conversations", "conversation", "dialog", "dialogue", "dialogs", "chat", "utterances", "data"),
)
# Keys of an object inside the record that holds the list of turns.
NESTED_KEYS = ("body", "params", "request", "conversation", "chat", "data", "record", "row", "example")
# Keys of a text that may be written in a chat template.
CHAT_TEXT_KEYS = (
    *("text", "chat", "conversation", "conversations", "dialog", "dialogue", "messages", "transcript", "prompt"),
)
SYSTEM_KEYS = ("system", "system_prompt", "system_message", "system_instruction")
# The keys that are tried for conversations outside the formats that trainers read, in their order.
MORE_SYSTEM_KEYS = (
    *("system", "system_prompt", "systemInstruction", "system_instruction", "preamble", "system_message"),
)
# Keys of a prompt beside two answers to choose from.
PROMPT_KEYS = ("prompt", "instruction", "question", "query", "input")

# Keys of one turn.
ROLE_KEYS = ("role", "from")
TEXT_KEYS = ("content", "value")
SPEAKER_KEYS = ("sender", "author", "speaker", "type")
MORE_TEXT_KEYS = ("text", "message", "utterance", "parts")
PAIR_KEYS = ("human", "user")  # beside "assistant", in a turn that is a question with its answer
CALL_KEYS = ("tool_calls", "function_call")


def known_role(word: object) -> Role | None:
    """The role that a role word stands for, in any letter case; None for an unknown word."""
    return ROLES.get(word.strip().lower()) if isinstance(word, str) else None


def turn_role(turn: object) -> Role | None:
    """The role of a turn spelt role/content or from/value; None if it names no known role."""
    return known_role(turn.get("role") or turn.get("from")) if isinstance(turn, Mapping) else None
