"""What `inspect` says of the rows that could be read: health, copies, and rows that another set holds as well."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from delift_core.cli.sources import load_source
from delift_core.data.quality.checks import Finding, HealthReport, find_issues
from delift_core.data.quality.cleaning import FIX_TITLES, suggested_fix
from delift_core.data.quality.duplicates import (
    MIN_SIMILARITY,
    CopyGroup,
    CopyKind,
    Overlap,
    copied_positions,
    copy_groups,
    overlaps,
)
from delift_core.data.quality.paraphrases import semantic_groups, semantic_overlaps
from delift_core.samples import Dataset, Sample

QUICK_ROWS = 20_000  # beyond, near copies are looked for on request only
NAMED_LINES = 8
_KIND_WORDS: dict[CopyKind, str] = {
    "exact": "exact",
    "near": "{share:.0%} similar",
    "semantic": "paraphrase, similarity {share:.2f}",
}


@dataclass(frozen=True, slots=True)
class InspectReport:
    """The findings; `others` are the samples of the set compared with, None where none was named."""

    samples: Sequence[Sample]
    health: HealthReport
    near: float
    groups: tuple[CopyGroup, ...]
    others: Sequence[Sample] | None
    overlaps: tuple[Overlap, ...]

    def lines(self) -> list[str]:
        """For people."""
        mix = ", ".join(f"{one.rows:,} {one.format or 'mapped'}" for one in self.health.formats)
        copies = copied_positions(self.groups)
        kind = "exact copies" if self.near >= 1 else f"copies (at least {self.near:.0%} similar, or paraphrases)"
        lines = [f"formats: {mix}"] if len(self.health.formats) > 1 else []
        for one in self.health.findings:
            words = one.issue_class
            lines.append(
                f"look at: {len(one.positions):,} × {words.title} ({self._named(one.positions)}). {words.remedy} "
                f"({_options(one, len(self.samples))})"
            )
        lines.append(f"copies: {len(copies):,} rows are {kind} of {len(self.groups):,} others")
        for group in self.groups[:NAMED_LINES]:
            kept = self.samples[group.kept].line
            similarity = _KIND_WORDS[group.kind].format(share=group.similarity)
            lines.append(f"  keep row {kept}, {group.reason}; its copies: {self._named(group.copies)} ({similarity})")
        if self.others is not None:
            shared = self._named([one.position for one in self.overlaps])
            lines.append(f"shared: {len(self.overlaps):,} rows have a prompt that the other set holds too ({shared})")
            told = [one for one in self.overlaps if one.kind == "semantic"]
            if told:
                named = self._named([one.position for one in told])
                lines.append(f"  of them {len(told):,} are paraphrases ({named}): read them before you decide")
        return lines

    def document(self) -> dict[str, object]:
        """For JSON; rows are named by id and line."""
        return {
            "formats": {one.format or "mapped": one.rows for one in self.health.formats},
            "health": [
                {
                    "kind": one.kind,
                    "title": one.issue_class.title,
                    "remedy": one.issue_class.remedy,
                    "mend": suggested_fix(one, len(self.samples)),
                    "count": len(one.positions),
                    "rows": self._rows(one.positions),
                }
                for one in self.health.findings
            ],
            "near": self.near,
            "copies": [
                {
                    "kind": one.kind,
                    "keep": self._rows([one.kept])[0],
                    "copies": self._rows(one.copies),
                    "similarity": one.similarity,
                    "reason": one.reason,
                }
                for one in self.groups
            ],
            "shared": None
            if self.others is None
            else [
                {
                    "row": self._rows([one.position])[0],
                    "other_line": self.others[one.other].line,
                    "kind": one.kind,
                    "similarity": one.similarity,
                }
                for one in self.overlaps
            ],
        }

    def _rows(self, positions: Iterable[int]) -> list[dict[str, object]]:
        return [{"id": self.samples[at].id, "line": self.samples[at].line} for at in positions]

    def _named(self, positions: Sequence[int]) -> str:
        lines = ", ".join(str(self.samples[at].line) for at in positions[:NAMED_LINES])
        more = f" and {len(positions) - NAMED_LINES:,} more" if len(positions) > NAMED_LINES else ""
        return (f"line {lines}" if lines else "none") + more


def _options(finding: Finding, rows: int) -> str:
    kind, mendable = finding.kind, suggested_fix(finding, rows)
    mending = f"--mend {kind}: {FIX_TITLES[mendable][0].lower()}{FIX_TITLES[mendable][1:]}; " if mendable else ""
    return f"{mending}--leave-out {kind}"


def inspect_rows(dataset: Dataset, near: float | None, against: str | None) -> InspectReport:
    """Looks through a data set.

    Args:
        near: see `copy_groups`; None takes what is quick enough for its size. Below 1, rows of one meaning are looked
            for as well.
        against: file or hub data set to compare with.
    """
    share = near if near is not None else MIN_SIMILARITY if len(dataset) <= QUICK_ROWS else 1.0
    others = load_source(against, None).samples if against else None
    shared = overlaps(dataset.samples, others, share) if others is not None else ()
    groups = copy_groups(dataset.samples, share)
    if share < 1:
        groups += semantic_groups(dataset.samples, groups)
        known = {one.position for one in shared}
        shared += semantic_overlaps(dataset.samples, others or (), known)
    return InspectReport(dataset.samples, find_issues(dataset.samples), share, groups, others, shared)
