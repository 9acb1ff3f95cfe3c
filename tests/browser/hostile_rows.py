"""Rows as an attacker would write them, and a scored workspace that is full of them."""

import json
from dataclasses import replace
from pathlib import Path

from delift_core.curation.curate import open_selection
from delift_core.data.loading import Origin, load_bytes, load_file
from delift_core.evaluation.background import EvaluationJob, prepare_job
from delift_core.evaluation.evaluation_request import FineTuning
from delift_core.evaluation.subset_evaluation import EvaluationSettings, folder_of, request_for
from delift_core.export.subset_files import export_selection
from delift_core.system.files import safe_stem
from delift_core.workspace import RunSpec, Workspace
from tests.scored import score_and_select
from tests.tiny_models import save_model

EVIL = "evil.invalid"
TEXTS = (
    "<script>alert('script')</script>",
    f'<img src="http://{EVIL}/pixel.png" onerror="alert(1)">',
    f'<iframe src="https://{EVIL}/frame"></iframe><svg onload=alert(2)><style>*{{display:none}}</style>',
    f"![picture](http://{EVIL}/markdown.png) [link](javascript:alert(3)) <http://{EVIL}/auto>",
    f"[reference][1]\n\n[1]: http://{EVIL}/reference",
    r"$\href{javascript:alert(4)}{x}$ $\def\x{\x\x}\x$" + rf" $$\includegraphics{{http://{EVIL}/latex.png}}$$",
    ":red[coloured] :material/delete: :blue-background[x] :small[y] # heading\n\n---\n\n| a | b |\n|--|--|\n| c | d |",
    "\x1b[2J\x1b[31mred\x1b]0;title\x07 \x00 \x08\x08\x08",
    "\u202eelif gnp.exe \u2066isolate \u200b\u200b zero width \ufeff mark",
    f'=HYPERLINK("http://{EVIL}/sheet","click") +cmd|\' /C calc\'!A0',
    '%{customdata} %{x} <br><b>bold</b><a href="javascript:alert(5)">plotly</a><extra>%{fullData.name}</extra>',
    "{{7*7}} ${7*7} %s %d {0} {self.__class__} __proto__ constructor </script></textarea></title>",
    f"http://{EVIL}/bare www.{EVIL} mailto:a@{EVIL} //{EVIL}/relative data:text/html,<script>alert(6)</script>",
    "```html\n<script>alert(7)</script>\n``` `code` \\`escaped\\` \\\\ *a* _b_ ~~c~~ &lt;script&gt; &#60;b&#62;",
    "Z̸̡̛͔a̵̢͝l̶̨͝g̴̢̛o̵͔͝ " * 20,
)
NAME = f"<img src=x onerror=alert(8)> ![n](http://{EVIL}/name.png) $x$ \u202e"


def write_hostile(folder: Path) -> Path:
    """A JSON lines file of hostile rows: each text as a prompt and as a response, a word of a million letters, and a
    record with half a surrogate pair, which cannot be used."""
    rows = [{"instruction": text, "input": "", "output": "An answer."} for text in TEXTS]
    rows += [{"instruction": f"Question {place}", "input": "", "output": text} for place, text in enumerate(TEXTS)]
    rows.append({"instruction": "W" * 1_000_000, "input": "", "output": "Long."})
    rows.append({"instruction": "Half a pair: \ud83d", "input": "", "output": "\udc00"})
    path = folder / "<b onmouseover=alert(9)>hostile.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_hostile_workspace(folder: Path) -> str:
    """Makes a closed workspace in `folder`: run r1 on hostile rows, two selections, edits, tags, notes, an export.

    Returns:
        The id of a hostile row.
    """
    model = save_model(folder.parent / "model")
    with Workspace.open(folder) as workspace:
        loaded = load_file(write_hostile(folder.parent), name=NAME)
        elsewhere = replace(loaded, origin=Origin("file", f"http://{EVIL}/<script>"))
        pool = workspace.datasets.add(elsewhere, role="pool")
        target = workspace.datasets.add(replace(loaded, origin=Origin("upload", NAME)), role="target")
        spec = RunSpec(pool.id, target.id, None, str(model), "auto", "cpu", "float32")
        selector = score_and_select(workspace, spec, {f"{NAME} {rows}": rows for rows in (6, 10)})
        ids = [sample.id for sample in open_selection(workspace, "s1").samples]
        for place, text in enumerate(TEXTS[:8]):
            workspace.edits.apply("s1", "keep", [ids[place]], author=NAME, why=text)
            workspace.edits.apply("s1", "tag", [ids[place]], author=NAME, detail=text[:60])
            workspace.edits.apply("s1", "note", [ids[place]], author=NAME, detail=text)
        export_selection(workspace, "s1", workspace.exports_folder / "out.csv", selector=selector)
        as_the_page_names_it = workspace.exports_folder / f"{safe_stem(f'{NAME} 6')}.jsonl"
        export_selection(workspace, "s1", as_the_page_names_it, selector=selector)
        _evaluate(workspace)
        return ids[3]


def _evaluate(workspace: Workspace) -> None:
    """A finished evaluation of the first selection, with the name of the second among its arms, and answers."""
    rows = [{"instruction": text, "input": "", "output": TEXTS[0]} for text in TEXTS[:3]]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    heldout = workspace.datasets.add(load_bytes(data, f"{NAME}.jsonl", name=NAME), role="heldout")
    settings = EvaluationSettings(
        heldout.id, against=("random",), selections=("s2",), seeds=1, generate=2, tuning=FineTuning(epochs=1)
    )
    job = folder_of(workspace, "s1", settings)
    request = request_for(workspace, open_selection(workspace, "s1"), settings)
    prepare_job(job, EvaluationJob("evaluate", False, request))
    job.run(lambda: False)
