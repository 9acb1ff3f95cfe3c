"""Nothing that comes in as data is run: what ruff's security rules do not look for is looked for here.

Ruff's S rules, which `make check` applies to all code, refuse exec and eval, calls of pickle and marshal, torch.load
without weights_only, unsafe YAML, shells, and SQL put together from text (tests/workspace/test_sql.py looks at the
workspace's own statements). They do not know numpy's pickles, code that comes with a model, or imports by other names.
"""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = [ROOT / "app.py", *(ROOT / "delift_core").rglob("*.py"), *(ROOT / "pages").rglob("*.py")]
# Each of them makes objects, and so runs code, out of bytes.
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle", "yaml"}
RUNS = {"eval", "exec", "compile", "__import__"}
# The bundled model's file is ours, and transformers' default runs no code of a model either.
OURS = {
    "AutoModelForCausalLM.from_pretrained(gguf.parent",
    "AutoTokenizer.from_pretrained(gguf.parent",
    # Adapters have no code; their folder was found to hold safetensors.
    "PeftConfig.from_pretrained(str(folder)",
    "PeftModel.from_pretrained(model, str(folder)",
}


def dangers(source: str) -> Iterator[str]:
    """What in a source could run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"import of {name}" for name in names if name.split(".")[0] in PICKLES)
        elif isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_call(node: ast.Call) -> Iterator[str]:
    words = ast.unparse(node)
    said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    name = ast.unparse(node.func)
    last = name.rsplit(".", 1)[-1]
    if name in RUNS or last in ("read_pickle", "to_pickle"):
        yield words
    if said.get("allow_pickle", "False") != "False" or said.get("trust_remote_code", "False") != "False":
        yield words
    if last == "load" and name.startswith("torch.") and said.get("weights_only") != "True":
        yield words
    if last == "from_pretrained" and said.get("trust_remote_code") != "False" and not words.startswith(tuple(OURS)):
        yield words
    if "shell" in said or name in ("os.system", "os.popen"):
        yield words


def test_nothing_in_the_code_runs_what_it_reads() -> None:
    found = {str(path.relative_to(ROOT)): list(dangers(path.read_text("utf-8"))) for path in CODE}
    assert len(found) > 150
    assert {path: what for path, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "eval(text)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=wanted)",
        "pd.read_pickle(path)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "AutoModel.from_pretrained(name)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "load_dataset(name, trust_remote_code=True)",
        "subprocess.run(words, shell=True)",
    ],
)
def test_each_of_these_would_be_found(source: str) -> None:
    assert set(dangers(source))


def test_ruffs_security_rules_are_on_for_the_code_that_is_run() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in lint["select"] and lint["ignore"] == ["S101"]
    exceptions = {files: rules for files, rules in lint["per-file-ignores"].items() if not files.startswith("{tests")}
    assert exceptions == {"delift_core/workspace/*.py": ["S608"]}


def test_the_server_is_set_up_to_be_safe() -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert config["server"]["address"] == "127.0.0.1" and 0 < config["server"]["maxUploadSize"] <= 1000
    assert config["client"]["disableDataExport"] and not config["browser"]["gatherUsageStats"]
    assert config["server"].get("enableXsrfProtection", True) and config["server"].get("enableCORS", True)
