"""Planted truth: does a method leave out planted bad rows, and does U predict the effect of a gradient step?

    python -m benchmarks.planted [--influence ROWS] [--template paper] [--settings] [--workspace FOLDER]

44 short rows are made: five clusters of five clean rows, a near-copy of one row of each, ten rows whose answers belong
to another cluster, and four that belong nowhere. The best 30 % (13 rows) hold none of the last fourteen, at most one of
each near-copy pair, and some of every cluster. All rows are scored with the bundled model, and every method orders
them. With --influence, one small step of gradient descent is made on each of the first ROWS rows, and what it does to
the loss of the others is ranked beside U, LESS and embeddings. Another table says which vectors put the rows of a
cluster side by side, as a map of the pool should.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.machine import machine
from benchmarks.proof import PRESETS, Scored, open_scored
from delift_core.baselines import LessSettings
from delift_core.baselines.less import less_matrix
from delift_core.baselines.measure import EncodedRows, MeasuredPool
from delift_core.curation.scoring_runs import run_here
from delift_core.data.loading import Dataset
from delift_core.evaluation.measures import LOSS, measure, without_examples
from delift_core.evaluation.training import response_loss_sum
from delift_core.models.encoded import EncodedSample
from delift_core.models.loading import LoadedModel, load_model
from delift_core.models.prompts import TemplateChoice, make_template
from delift_core.models.vectors import WordVectors
from delift_core.samples import Message, ParsedRecord, with_ids
from delift_core.scoring.batches import Suffix
from delift_core.scoring.scorer import Scorer
from delift_core.selection.methods import METHODS
from delift_core.selection.orders import unit
from delift_core.workspace import RunSpec, Workspace

CLEAN: dict[str, tuple[tuple[str, str], ...]] = {
    "sums": (
        ("What is 12 + 7?", "12 + 7 = 19"),
        ("What is 30 + 45?", "30 + 45 = 75"),
        ("What is 8 + 64?", "8 + 64 = 72"),
        ("What is 51 + 9?", "51 + 9 = 60"),
        ("What is 27 + 14?", "27 + 14 = 41"),
    ),
    "capitals": (
        ("Name the capital of Peru.", "The capital of Peru is Lima."),
        ("Name the capital of Kenya.", "The capital of Kenya is Nairobi."),
        ("Name the capital of Norway.", "The capital of Norway is Oslo."),
        ("Name the capital of Japan.", "The capital of Japan is Tokyo."),
        ("Name the capital of Greece.", "The capital of Greece is Athens."),
    ),
    "polite": (
        ("Make it polite: Close the door.", "Could you please close the door?"),
        ("Make it polite: Send the file.", "Could you please send the file?"),
        ("Make it polite: Wait outside.", "Could you please wait outside?"),
        ("Make it polite: Speak louder.", "Could you please speak louder?"),
        ("Make it polite: Sign the form.", "Could you please sign the form?"),
    ),
    "units": (
        ("Convert 3 km to metres.", "3 km = 3000 m"),
        ("Convert 2 hours to minutes.", "2 h = 120 min"),
        ("Convert 5 kg to grams.", "5 kg = 5000 g"),
        ("Convert 7 litres to millilitres.", "7 L = 7000 mL"),
        ("Convert 4 metres to centimetres.", "4 m = 400 cm"),
    ),
    "plurals": (
        ("Plural of mouse?", "one mouse, two mice"),
        ("Plural of child?", "one child, two children"),
        ("Plural of leaf?", "one leaf, two leaves"),
        ("Plural of foot?", "one foot, two feet"),
        ("Plural of knife?", "one knife, two knives"),
    ),
}
COPIES = (
    ("sums", "What's 12 + 7?", "12 + 7 = 19"),
    ("capitals", "What is the capital of Peru?", "The capital of Peru is Lima."),
    ("polite", "Make this polite: Close the door.", "Could you please close the door?"),
    ("units", "How many metres are 3 km?", "3 km = 3000 m"),
    ("plurals", "The plural of mouse?", "one mouse, two mice"),
)
SHUFFLED = (
    ("What is 33 + 6?", "The capital of Chile is Santiago."),
    ("What is 70 + 21?", "one ox, two oxen"),
    ("Name the capital of Cuba.", "9 L = 9000 mL"),
    ("Name the capital of Egypt.", "Could you please sit down?"),
    ("Make it polite: Turn left.", "44 + 17 = 61"),
    ("Make it polite: Pay now.", "one goose, two geese"),
    ("Convert 6 km to metres.", "The capital of Spain is Madrid."),
    ("Convert 9 kg to grams.", "Could you please help me?"),
    ("Plural of tooth?", "8 h = 480 min"),
    ("Plural of wolf?", "15 + 15 = 30"),
)
NOWHERE = (
    ("asdf qwer", "ok lol"),
    ("hey you", "BUY NOW 70% off!!!"),
    ("...", "I dunno, whatever."),
    ("test test", "zxcv zxcv zxcv"),
)
BUDGET = 0.3


@dataclass(frozen=True, slots=True)
class Planted:
    """The rows in a fixed shuffled order, with (n,) cluster names ("" for none) and (n,) kinds."""

    dataset: Dataset
    clusters: tuple[str, ...]
    kinds: tuple[str, ...]


def plant(seed: int = 0) -> Planted:
    """Makes the pool with planted rows."""
    rows = [(cluster, "clean", *pair) for cluster, pairs in CLEAN.items() for pair in pairs]
    rows += [(cluster, "copy", prompt, answer) for cluster, prompt, answer in COPIES]
    rows += [("", "shuffled", *pair) for pair in SHUFFLED] + [("", "nowhere", *pair) for pair in NOWHERE]
    mixed = [rows[place] for place in np.random.default_rng(seed).permutation(len(rows))]
    records = (
        ParsedRecord((Message("user", prompt), Message("assistant", answer)), "{}", "planted", line)
        for line, (_, _, prompt, answer) in enumerate(mixed, start=1)
    )
    dataset = Dataset("planted", "messages", None, with_ids(records))
    return Planted(dataset, tuple(row[0] for row in mixed), tuple(row[1] for row in mixed))


def judged(planted: Planted, chosen: np.ndarray) -> tuple[int, int, int, int, float]:
    """Number of chosen shuffled rows, unrelated rows, second copies and covered clusters, and the good share."""
    kinds = [planted.kinds[row] for row in chosen]
    answers = [planted.dataset.samples[row].response for row in chosen if planted.kinds[row] in ("clean", "copy")]
    second = len(answers) - len(set(answers))
    bad = kinds.count("shuffled") + kinds.count("nowhere") + second
    clusters = {planted.clusters[row] for row in chosen} - {""}
    return kinds.count("shuffled"), kinds.count("nowhere"), second, len(clusters), 1 - bad / len(chosen)


def line(name: str, planted: Planted, order: np.ndarray, seconds: float | None) -> str:
    """One line of the table."""
    k = round(BUDGET * len(planted.kinds))
    shuffled, nowhere, second, clusters, precision = judged(planted, order[:k])
    took = f"{seconds:.1f}" if seconds is not None else ""
    return f"| {name} | {shuffled} | {nowhere} | {second} | {clusters} of {len(CLEAN)} | {precision:.0%} | {took} |"


def steps(loaded: LoadedModel, rows: list[EncodedSample], rate: float) -> np.ndarray:
    """(n, n) float64, decrease of row i's loss, in nats per token, by one plain gradient step on row j alone."""
    scorer = Scorer(loaded)
    counts = np.array([len(row.response) for row in rows])
    before = measure(scorer, without_examples(rows))[LOSS] / counts
    weights = list(loaded.model.parameters())
    kept = [weight.detach().clone() for weight in weights]
    found = np.empty((len(rows), len(rows)))
    for column, row in enumerate(rows):
        loaded.model.requires_grad_(True)
        (batch,) = scorer.make_batches([Suffix(row.alone, row.response)])
        with torch.enable_grad():
            (response_loss_sum(loaded.model, batch) / len(row.response)).backward()
        loaded.model.requires_grad_(False)
        with torch.no_grad():
            for weight in weights:
                weight.sub_(rate * weight.grad)
                weight.grad = None
        found[:, column] = before - measure(scorer, without_examples(rows))[LOSS] / counts
        with torch.no_grad():
            for weight, old in zip(weights, kept, strict=True):
                weight.copy_(old)
    return found


def agreement(measured: np.ndarray, said: np.ndarray) -> str:
    """Spearman's correlation over columns, mean over rows, and over all pairs; the diagonal is left out."""
    off = ~np.eye(len(measured), dtype=bool)
    by_row = [spearmanr(measured[i][off[i]], said[i][off[i]]).statistic for i in range(len(measured))]
    return f"{np.nanmean(by_row):+.2f} | {spearmanr(measured[off], said[off]).statistic:+.2f}"


def neighbours(planted: Planted, hidden: np.ndarray) -> list[str]:
    """Lines of a table: of the five rows nearest to each row of a cluster, how many are of that cluster."""
    texts = [f"{sample.prompt} {sample.response}" for sample in planted.dataset.samples]
    tf_idf = TfidfVectorizer(sublinear_tf=True).fit_transform(texts).toarray()
    vectors = {"hidden states": hidden, "word vectors": WordVectors().embed(texts), "TF-IDF": tf_idf}
    clusters = np.array(planted.clusters)
    lines = ["| vectors | same cluster among the five nearest |", "| --- | --- |"]
    for name, points in vectors.items():
        alike = unit(points) @ unit(points).T
        np.fill_diagonal(alike, -np.inf)
        near = np.argsort(-alike, axis=1)[:, :5]
        same = (clusters[near] == clusters[:, None])[clusters != ""]
        lines.append(f"| {name} | {same.mean():.0%} |")
    return lines


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--influence", type=int, default=0, metavar="ROWS")
    parser.add_argument("--template", default="auto", choices=get_args(TemplateChoice), help="paper: as published")
    parser.add_argument("--settings", action="store_true", help="DELIFT's settings alone, no other method")
    parser.add_argument("--rate", type=float, default=1e-3, help="of the one step")
    parser.add_argument("--workspace", type=Path, help="where scored pairs are kept; default: nowhere")
    asked = parser.parse_args()
    planted = plant()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.workspace or Path(temporary)
        began = time.monotonic()
        with Workspace.open(folder) as workspace:
            pool = workspace.datasets.add(planted.dataset, role="pool")
            spec = RunSpec(pool.id, None, None, "bundled", asked.template, "cpu", "float32")
            run_here(workspace, spec)
        scoring = time.monotonic() - began
        scored = open_scored(folder, planted.dataset.samples)
        report(planted, scored, scoring, asked)


@dataclass(frozen=True)
class ScoredPool(MeasuredPool):
    """The pool with the utilities of its run."""

    scored: Scored | None = None

    @property
    def utilities(self) -> np.ndarray:
        return self.scored.utilities("euclidean")[0]


def report(planted: Planted, scored: Scored, scoring: float, asked: argparse.Namespace) -> None:
    """Orders by all methods, and prints which planted rows they choose."""
    loaded = load_model("bundled", device="cpu", dtype="float32")
    template, influence, rate = make_template(loaded.tokenizer, asked.template), asked.influence, asked.rate
    rows = [template.encode(sample.conversation) for sample in scored.rows]
    bench = ScoredPool(Scorer(loaded), template, EncodedRows(scored.rows, rows), scored=scored)
    k = round(BUDGET * len(rows))
    print(f"Machine: {machine()}\n\n{len(rows)} rows, {k} kept; scoring every pair took {scoring:.0f} s.\n", flush=True)
    print("| method | shuffled kept, of 10 | nowhere kept, of 4 | second copies | clusters | good rows | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for preset in PRESETS:
        print(line(f"DELIFT, {preset.name}", planted, scored.order(preset), None), flush=True)
    for entry in METHODS.values() if not asked.settings else ():
        began = time.monotonic()
        order = entry.order(bench, 0)
        print(line(entry.title, planted, order, time.monotonic() - began), flush=True)
    draws = [judged(planted, np.random.default_rng(seed).permutation(len(rows))[:k]) for seed in range(1000)]
    means = np.mean(draws, axis=0)
    shown = " | ".join(f"{value:.1f}" for value in means[:4])
    print(f"| Random, mean of 1,000 | {shown} | {means[4]:.0%} | |")
    print("\n" + "\n".join(neighbours(planted, bench.embeddings)), flush=True)
    if influence:
        few = rows[:influence]
        print(f"\nOne step at rate {rate:g} on each of {influence} rows, what it does to the others, beside\n")
        print("| says | Spearman, mean over rows | over all pairs |\n| --- | --- | --- |")
        measured = steps(loaded, few, rate)
        for metric in ("euclidean", "pmi-per-token", "pmi"):
            part = scored.utilities(metric)[0][:influence, :influence]
            print(f"| U, {metric} | {agreement(measured, part)} |", flush=True)
        near = unit(bench.embeddings[:influence])
        print(f"| embeddings, cosine | {agreement(measured, near @ near.T)} |", flush=True)
        less = less_matrix(loaded, few, LessSettings(), seed=0)
        print(f"| LESS | {agreement(measured, less)} |", flush=True)


if __name__ == "__main__":
    main()
