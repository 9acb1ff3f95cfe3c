"""The form that loads a file, a path or a Hub data set, with a preview of the rows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import streamlit as st

from delift_core.data.formats.base import name_list
from delift_core.data.formats.preference import Answer, has_pair
from delift_core.data.loading import (
    Dataset,
    HubSplit,
    Origin,
    ReadOptions,
    TablePreview,
    Watch,
    fields_of,
    load_bytes,
    map_preview,
    read_columns,
    read_columns_of_bytes,
    read_columns_of_hub,
    unread_columns,
)
from delift_core.errors import DataError
from delift_core.samples import ColumnMapping, Conversation, Problem, ScoredPart, Turns, has_thoughts, labelled_texts
from delift_core.system.texts import row_count
from delift_core.workspace import DatasetRole, Workspace
from pages.ui.data.signals import watched
from pages.ui.shell.blocks import ROLE_WORDS, clear_errors, plain

SUFFIXES = ["jsonl", "json", "ndjson", "csv", "tsv", "parquet", "arrow", "feather", "gz", "zst", "bz2", "xz", "txt"]
PREVIEWED = 3


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from, and the bytes of an uploaded file."""

    origin: Origin
    data: bytes = b""

    def preview(self) -> TablePreview:
        """The first records, and the format and columns recognised in them."""
        if self.origin.kind == "upload":
            return read_columns_of_bytes(self.data, self.origin.name)
        if self.origin.split is not None:
            return read_columns_of_hub(self.origin.split)
        return read_columns(Path(self.origin.name))

    def load(self, options: ReadOptions, watch: Watch) -> Dataset:
        """Every record."""
        if self.origin.kind == "upload":
            return load_bytes(self.data, self.origin.name, options, watch=watch)
        return replace(self.origin, options=options).load(watch=watch)


def load_form(workspace: Workspace, kind: str) -> None:
    """Asks for the source and the role, shows the preview, and loads."""
    source = ask_source(kind)
    if source is None:
        return
    with clear_errors():
        with st.spinner("Reading the first rows…"):
            preview = source.preview()
        answer = ask_answer(preview)
        mapping = ask_mapping(preview)
        options = ReadOptions(mapping, answer)
        options = replace(options, turns=ask_turns(preview, options))
        options = replace(options, scored=ask_scored(preview, options))
        show_preview(preview, options)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            role: DatasetRole | None = st.segmented_control(
                "Use these rows as",
                list(get_args(DatasetRole)),
                default="pool",
                required=True,
                format_func=lambda role: ROLE_WORDS[role],
                help="Pool: rows to choose from. Target: examples of your task. Existing: already trained on. "
                "Held-out: rows to test with.",
            )
            pressed = st.button("Load", type="primary", icon=":material/upload_file:", key="load_rows")
        if pressed:
            load(workspace, source, role or "pool", options)


def ask_source(kind: str) -> Source | None:
    """The widgets of one kind of source; None until there is something to read."""
    if kind == "Upload":
        most = st.get_option("server.maxUploadSize")
        words = f"Up to {most:,} MB. Load a larger file by its path, which also takes less memory."
        upload = st.file_uploader(
            "JSONL, JSON, CSV, TSV, Parquet, Arrow; also gz, zst, bz2 or xz", type=SUFFIXES, key="upload", help=words
        )
        return Source(Origin("upload", upload.name), upload.getvalue()) if upload else None
    if kind == "Path":
        path = st.text_input("Path of a file or folder on this machine", placeholder="~/data/alpaca.jsonl", key="path")
        return Source(Origin("file", str(Path(path.strip()).expanduser()))) if path.strip() else None
    return ask_hub()


def ask_hub() -> Source | None:
    """A Hub data set; rarely needed options are in a popover."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        repo = st.text_input("Hugging Face data set", placeholder="tatsu-lab/alpaca", key="hub_id")
        split = st.text_input("Split", value="train", key="hub_split", width=140)
        with st.popover("More", icon=":material/tune:"):
            config = st.text_input("Configuration", key="hub_config", help="Only for data sets that have several.")
            revision = st.text_input("Revision", key="hub_revision", help="Branch, tag or commit.")
            limit = st.number_input(
                "First rows only", min_value=1, value=None, key="hub_limit", help="Streams only this many rows."
            )
    if not repo.strip():
        return None
    chosen = HubSplit(
        repo.strip(),
        config.strip() or None,
        split.strip() or "train",
        revision.strip() or None,
        int(limit) if limit else None,
    )
    return Source(Origin("hub", chosen.repo_id, split=chosen))


def ask_answer(preview: TablePreview) -> Answer | None:
    """Which answers to learn, if rows have a preferred and a rejected one or mark theirs; there is no default."""
    pairs = any(isinstance(record.value, Mapping) and has_pair(record.value) for record in preview.records)
    if not pairs and not preview.labels:
        return None
    words = "These rows have a preferred and a rejected answer. Which one should the model learn?"
    if not pairs:
        words = f"The field {preview.labels[0]} may mark answers as good or bad. Which should the model learn?"
    choice: Answer | None = st.segmented_control(
        plain(words),
        [answer for answer in get_args(Answer) if answer != "all" or not pairs],
        format_func=lambda answer: {"chosen": "Preferred", "rejected": "Rejected", "all": "All"}[answer],
        help="All: the field means something else, such as a topic.",
        key="preference_answer",
    )
    return choice


def ask_turns(preview: TablePreview, options: ReadOptions) -> Turns:
    """Which answers to score, if conversations have several; the choice is stored with the data set."""
    several = (
        sum(message.role == "assistant" for message in outcome.messages) > 1
        for outcome in map_preview(preview, options)
        if not isinstance(outcome, Problem)
    )
    if options.mapping is not None or not any(several):
        return "last"
    choice: Turns = st.segmented_control(
        "Which answers of a conversation should be scored?",
        list(get_args(Turns)),
        default="last",
        required=True,
        format_func=lambda turns: {"last": "The last", "every": "Every one, each as its own row"}[turns],
        key="scored_turns",
        help="Each answer is scored with everything before it. A conversation is exported once and whole if any of its "
        "answers is chosen.",
    )
    return choice


def ask_scored(preview: TablePreview, options: ReadOptions) -> ScoredPart:
    """Which part of an answer to score, if answers have thoughts; the choice is stored with the data set."""
    found = (outcome for outcome in map_preview(preview, options) if not isinstance(outcome, Problem))
    if not any(has_thoughts(outcome.messages[-1]) for outcome in found):
        return "turn"
    words = {"turn": "Thoughts and answer", "answer": "The answer", "thoughts": "The thoughts"}
    choice: ScoredPart = st.segmented_control(
        "What should be scored of an answer with thoughts?",
        list(get_args(ScoredPart)),
        default="turn",
        required=True,
        format_func=lambda part: words[part],
        key="scored_part",
        help="Trainers learn both unless you mask the thoughts. Answers without thoughts are scored whole; if only "
        "thoughts are scored, their rows are skipped.",
    )
    return choice


def ask_mapping(preview: TablePreview) -> ColumnMapping | None:
    """The column mapping of a table whose format is not recognised; a recognised one can be mapped by hand."""
    if preview.detected and preview.detected != "columns":
        by_hand = st.toggle("Map columns by hand", help=f"Recognised as {preview.detected}.", key="map_by_hand")
        if not by_hand:
            return None
    if len(preview.columns) < 2:
        raise DataError(
            f"{preview.source} has fewer than two columns: it needs one for the prompt and one for the response"
        )
    guess = preview.suggested or ColumnMapping(preview.columns[0], preview.columns[1])
    columns = list(preview.columns)
    with st.container(horizontal=True):
        prompt = st.selectbox("Prompt column", columns, index=columns.index(guess.prompt), key="map_prompt")
        response = st.selectbox("Response column", columns, index=columns.index(guess.response), key="map_response")
        system = st.selectbox("System column", ["(none)", *columns], key="map_system")
        parts = st.multiselect(
            "Other prompt columns",
            columns,
            default=list(guess.parts),
            key="map_parts",
            help="Such as a context: their text is added after the prompt, in this order.",
        )
    return ColumnMapping(prompt, response, None if system == "(none)" else system, tuple(parts))


def show_preview(preview: TablePreview, options: ReadOptions) -> None:
    """The first rows as they would be read, or why they cannot be."""
    kind = "mapped columns" if options.mapping else preview.detected
    st.caption(plain(f"Preview of {preview.source} ({kind})"))
    for problem in preview.not_read:
        st.caption(plain(f"Skipped: {problem}"))
    unread = unread_columns((record.value for record in preview.records), options.mapping, preview.labels)
    if unread:
        st.caption(plain(f"Columns not used: {name_list(unread)}. They are kept in the records."))
    for outcome in map_preview(preview, options)[:PREVIEWED]:
        with st.container(border=True):
            if isinstance(outcome, Problem):
                st.badge(plain(outcome.kind), icon=":material/report:", color="orange")
                st.text(str(outcome))
            else:
                conversation_preview(outcome)


def conversation_preview(conversation: Conversation) -> None:
    """The turns as text, thoughts and tool calls as they are read, cut after some lines."""
    tools = [f"tools: {conversation.tools}"] if conversation.tools else []
    turns = [f"{message.role}: {text}" for message in conversation.messages for text in labelled_texts(message)]
    st.text("\n".join(part[:600] for part in (*tools, *turns))[:1200])


def load(workspace: Workspace, source: Source, role: DatasetRole, options: ReadOptions) -> None:
    """Reads every row and stores the data set."""
    bar = watched("Reading…", "cancel_loading")
    dataset = source.load(options, bar)
    record = workspace.datasets.add(dataset, role=role, watch=bar)
    unread, left = len(dataset.files_not_read), dataset.records_left_out
    told = [f"{left:,} skipped"] * (left > 0) + [f"{unread:,} files of the folder not read"] * (unread > 0)
    left_out = f", {', '.join(told)} (listed below)" if told else ""
    columns = fields_of(dataset).unread
    more = f" Columns not used: {name_list(columns)}." if columns else ""
    words = f"{record.name}: {row_count(record.n_samples)} loaded{left_out}.{more}"
    st.session_state["loaded_notice"] = plain(words)
    st.query_params["set"] = record.id
    st.rerun()
