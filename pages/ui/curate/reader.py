"""The open row, beside the list: its text and why it was chosen or left out, and the keys that decide and go on.

The browser holds the next rows with their texts (see `reader_script`), so that the next one is on the screen at once,
and reports in order what was done to which row.
"""

import time
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import streamlit as st
from streamlit.components.v2 import component

from delift_core.curation.curate import CuratedSelection, RowStatus
from delift_core.curation.row_reason import HelpedRow, RowReason, row_reason
from delift_core.errors import DeliftError
from delift_core.samples import Sample
from delift_core.scoring.metrics import METRIC_UNITS
from delift_core.workspace import Edit, SelectionSummary, Workspace
from pages.ui.curate.edit_actions import (
    Rows,
    ask_marks,
    moved_words,
    state_of,
)
from pages.ui.curate.opened_row import open_row
from pages.ui.curate.reader_script import CSS, SCRIPT
from pages.ui.curate.row_filter import View, show_similar
from pages.ui.curate.row_table import STATE_WORDS, RowFacts
from pages.ui.curate.text_editor import changed_view, editing, text_editor, want_editor
from pages.ui.data.sample_view import turn_title
from pages.ui.shell import state
from pages.ui.shell.blocks import shorten
from pages.ui.shell.display import printable
from pages.ui.shell.model_text_view import ask_model_text, model_text_view

_KEY, _DONE, _SAID, _PLACE = "reader", "reader_done", "reader_said", "reader_place"
_AHEAD, _BEHIND = 40, 10  # rows that the browser holds
_LETTERS = 400_000  # of the rows ahead, at most
_REASON_SECONDS = 0.15  # for the reasons of rows ahead; the others come with a later run
_BESIDE_LETTERS = 1_500  # of a row that a reason names
_MOST_REASONS = 5_000

_reader = component("delift_reader", css=CSS, js=SCRIPT, isolate_styles=False)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the reader is drawn from."""

    workspace: Workspace
    curated: CuratedSelection
    facts: RowFacts
    view: View


def reader(workspace: Workspace, selection: SelectionSummary, reading: Reading, position: int) -> None:
    """Draws the open row; below it, what belongs to it and is not needed for every row."""
    curated = reading.curated
    sample = curated.samples[position]
    with st.container(key="reading"):
        _reader(
            data=_data(reading, position),
            default={"presses": []},
            key=_KEY,
            on_presses_change=lambda: take_presses(st.session_state[_KEY]["presses"], reading),
        )
        with st.container(key="reader_more"):
            if editing(sample.id):
                text_editor(workspace, curated, position)
                return
            changed_view(curated.problem.run.pool[position], sample)
            with st.expander("Tag or note", type="compact", icon=":material/sell:", key="reader_marks"):
                ask_marks(workspace, selection.id, _only(sample.id), state.known_tags(curated), "reader")
            _own_edits(workspace.edits.history(selection.id), sample.id)
            if ask_model_text("curate_model_text"):
                model_text_view(curated.problem.run.record.spec, sample, None)


@dataclass(slots=True)
class Taken:
    """Which reports of the browser were processed, as (visit, count).

    Streamlit may end a run at each access to the session, and may begin the next in another thread before that. Setting
    an attribute of an object in the session is no such access, and the lock lets one run at a time carry out reports,
    so that each edit is made once.
    """

    done: tuple[str, int] = ("", 0)
    settled: tuple[str, int] = ("", 0)  # also opened and marked as read
    lock: Lock = field(default_factory=Lock, repr=False)

    def includes(self, visit: str, count: int, *, settled: bool = False) -> bool:
        """Whether a report was carried out, or also settled."""
        known, last = self.settled if settled else self.done
        return visit == known and count <= last


def take_presses(presses: list[Any], reading: Reading) -> None:
    """Carries out what the browser reports and was not processed yet; it repeats each report until it is confirmed."""
    taken: Taken = st.session_state.setdefault(_DONE, Taken())
    why = (st.session_state.get("reader_why") or "").strip()
    said = [""]
    with taken.lock:
        for visit, count, action, row, _ in presses:
            if not taken.includes(visit, count):
                said.append(_edit(reading, action, row, why))
                taken.done = visit, count  # nothing that can end the run stands between the edit and this
    new = [press for press in presses if not taken.includes(press[0], press[1], settled=True)]
    if not new:
        return
    for _, _, action, row, to in new:
        if action == "edit":
            want_editor(row)
        elif action == "similar":
            show_similar(row)
        if to in reading.curated.problem.run.position_of:
            open_row(to)
    mark_read(reading.workspace, reading.curated, [row for press in new for row in press[3:]])
    st.session_state[_SAID] = said[-1]
    if why and any(press[2] in ("keep", "drop", "reset") for press in new):
        st.session_state["reader_why"] = ""
    taken.settled = new[-1][0], new[-1][1]


def _edit(reading: Reading, action: str, row: str, why: str) -> str:
    """Carries out an edit of the row that was shown; returns what to say, "" if the browser has said it."""
    edits, selection_id, author = (
        reading.workspace.edits,
        reading.curated.record.id,
        reading.workspace.actor.name,
    )
    try:
        if action in ("keep", "drop", "reset"):
            edits.apply(selection_id, action, [row], author=author, why=why)  # type: ignore[arg-type]
            return "Reset: the optimiser decides again." if action == "reset" else ""
        if action == "undo":
            return moved_words("Undone", edits.undo(selection_id, author=author))
        if action == "redo":
            return moved_words("Redone", edits.redo(selection_id, author=author))
    except DeliftError as error:
        return str(error)
    return ""


def mark_read(workspace: Workspace, curated: CuratedSelection, sample_ids: list[str]) -> None:
    """Marks rows of the pool as read; what a viewer reads is not stored."""
    run = curated.problem.run
    before, places = state.rows_read(run), run.position_of
    known = [sample_id for sample_id in sample_ids if sample_id in places and not before[places[sample_id]]]
    if known and workspace.actor.may("edit"):
        workspace.reads.add(run.record.spec.pool_id, known, reader=workspace.actor.name)


def _only(sample_id: str) -> Rows:
    return lambda: [sample_id]


def _data(reading: Reading, position: int) -> dict[str, object]:
    """What the browser gets: the open row, those around it, and where they stand in the list."""
    curated, view, workspace = reading.curated, reading.view, reading.workspace
    pool, selection_id = curated.problem.run.pool, curated.record.id
    at, queue = _queue(view.positions, position)
    letters, rows, until = _LETTERS, [], time.monotonic() + _REASON_SECONDS
    first = queue.index(position)
    for other in [*queue[first:], *queue[:first]]:
        letters -= len(curated.samples[other].raw)
        if other != position and letters < 0:
            continue
        rows.append(_row(reading, other, explain=other == position or time.monotonic() < until))
    read, total = view.read
    return {
        "view": view.key,
        "current": pool[position].id,
        "queue": [pool[other].id for other in queue],
        "rows": rows,
        "starts": queue[0] in (position, *view.positions[:1].tolist()),
        "ends": queue[-1] in (position, *view.positions[-1:].tolist()),
        "at": at,
        "total": len(view.positions),
        "read": read,
        "rows_in_view": total,
        "done": st.session_state.setdefault(_DONE, Taken()).settled,
        "said": st.session_state.pop(_SAID, ""),
        "editing": pool[position].id if editing(pool[position].id) else "",
        "may_edit": workspace.actor.may("edit"),
        "can_undo": workspace.edits.can_undo(selection_id) > 0,
        "can_redo": workspace.edits.can_redo(selection_id) > 0,
    }


def _queue(positions: np.ndarray, position: int) -> tuple[int | None, list[int]]:
    """The place of a row in the list, and the rows around it in order.

    A row that an edit removed from the list keeps its last place; that place is None if there was none.
    """
    (found,) = np.nonzero(positions == position)
    if len(found):
        at, after = int(found[0]), int(found[0]) + 1
        st.session_state[_PLACE] = position, at
    else:
        known, at = st.session_state.get(_PLACE, (None, 0))
        at = after = min(at, len(positions)) if known == position else 0
    before = positions[max(0, at - _BEHIND) : at].tolist()
    return (at if len(found) else None), [*before, position, *positions[after : after + _AHEAD].tolist()]


def _row(reading: Reading, position: int, *, explain: bool) -> dict[str, object]:
    curated, facts = reading.curated, reading.facts
    sample, marks = curated.samples[position], curated.marks
    status: RowStatus = facts.status[position].item()
    return {
        "id": sample.id,
        "place": sample.place,
        "source": printable(sample.source),
        "status": status,
        "words": STATE_WORDS[status],
        "tags": [printable(tag) for tag in marks.tags.get(sample.id, ())],
        "note": printable(marks.notes.get(sample.id, "")),
        "read": bool(facts.read[position]),
        "turns": _turns(sample),
        "record": printable(sample.raw),
        "why": _why(reading, position, explain=explain),
    }


def _turns(sample: Sample) -> list[dict[str, str]]:
    """The tools and the turns as plain text, each turn with its thoughts before it and its tool calls after it."""
    found = [{"role": "tools", "text": printable(sample.tools)}] if sample.tools else []
    for message in sample.messages:
        parts = [
            (f"{message.role} · thoughts", message.thoughts),
            (turn_title(message), "" if message.only_calls else message.content),
            *((f"{message.role} · calls {call.name}", call.arguments) for call in message.calls),
        ]
        found += [{"role": printable(role), "text": printable(text)} for role, text in parts if text]
    return found


def _why(reading: Reading, position: int, *, explain: bool) -> dict[str, object] | None:
    """The reason of a row; None for one that is not known yet, unless it is wanted now."""
    curated = reading.curated
    known = _reasons(curated.record.id, str(curated.problem.run.record.finished_at))
    if position not in known:
        if not explain:
            return None
        if len(known) >= _MOST_REASONS:
            known.clear()
        reason = curated.explained(position)
        sentence, _ = curated.as_text(reason, named_by_prompt)
        known[position] = row_reason(curated, position, reason), f"{sentence} {_numbers(curated, position)}."
    found, numbers = known[position]
    same = None if found.same_job is None else _named(reading, found.same_job)
    return {
        "lead": printable(found.lead),
        "same": same and {**same, "turns": _beginning(curated.samples[found.same_job or 0])},
        "next": None if found.next_in_line is None else _named(reading, found.next_in_line),
        "heading": found.heading,
        "helps": [_helped(reading, one, found.chosen) for one in found.helps],
        "certainty": found.certainty,
        "numbers": printable(numbers),
    }


@st.cache_resource(max_entries=4, show_spinner=False)
def _reasons(selection_id: str, finished_at: str) -> dict[int, tuple[RowReason, str]]:
    """The reasons that were looked up, with their numbers: edits do not change them."""
    return {}


def _helped(reading: Reading, one: HelpedRow, chosen: bool) -> dict[str, object]:
    """A helped row; of a row left out, also the chosen row that helps it most."""
    named = {**_named(reading, one.position), "share": one.share, "weak": one.weak}
    if chosen:
        return named
    how = "Helped as much or more by" if one.by_more else "Helped less by"
    return {**named, "by": None if one.by is None else {**_named(reading, one.by), "how": how}}


def _named(reading: Reading, position: int) -> dict[str, object]:
    sample = reading.curated.samples[position]
    words = STATE_WORDS[reading.facts.status[position].item()]
    return {"id": sample.id, "text": f"“{shorten(sample.prompt, 90)}”", "place": sample.place, "words": words}


def _beginning(sample: Sample) -> list[dict[str, str]]:
    return [{**turn, "text": turn["text"][:_BESIDE_LETTERS]} for turn in _turns(sample)]


def named_by_prompt(sample: Sample) -> str:
    """The name of a row in a reason: its number, and the start of its prompt."""
    return f"{sample.place} “{shorten(sample.prompt, 48)}”"


def _numbers(curated: CuratedSelection, position: int) -> str:
    """Rank and gain as a phrase."""
    selection, unit = curated.record.selection, METRIC_UNITS[curated.problem.metric]
    (picked,) = np.nonzero(selection.chosen == position)
    if not len(picked):
        return f"Not chosen, would add {selection.residual_gains[position]:.3g} ({unit})"
    rank = int(picked[0])
    return f"Rank {rank + 1:,} of {len(selection.chosen):,}, gain {selection.chosen_gains[rank]:.3g} ({unit})"


def _own_edits(history: tuple[Edit, ...], sample_id: str) -> None:
    own = [edit for edit in history if sample_id in edit.sample_ids]
    if not own:
        return
    with st.expander(f"Edits of this row ({len(own):,})", type="compact"):
        for edit in reversed(own):
            said = f": {edit.detail}" if edit.detail and edit.action != "text" else ""
            why = f", reason: {edit.why}" if edit.why else ""
            when = f"{edit.created_at:%Y-%m-%d %H:%M} UTC"
            st.text(f"{when}  {edit.action}{said} by {edit.author}{why} ({state_of(edit)})")
