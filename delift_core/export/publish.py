"""Publishes an exported file as a folder for `datasets.load_from_disk` or as a data set on the Hugging Face hub.

A token is used for one upload and never stored.
"""

import json
import shutil
import tempfile
from pathlib import Path

from delift_core.curation.manifest import Manifest, read_manifest
from delift_core.data.loading import RawRecord, read_records
from delift_core.errors import ExportError
from delift_core.export.card import card
from delift_core.export.containers import table_of
from delift_core.export.writers import manifest_path
from delift_core.system.access import Actor
from delift_core.system.files import why_folder_unusable
from delift_core.system.hub import first_line


def save_to_disk(out: Path, folder: Path, *, actor: Actor) -> int:
    """Saves an exported file as a folder for `datasets.load_from_disk`, and returns the number of rows.

    Columns whose objects differ in keys have the type Json of `datasets` 4.7 and later.

    Args:
        out: the file, JSON lines, Parquet or CSV.
        folder: a new or empty folder.
        actor: the visitor.

    Raises:
        NotAllowed: the visitor is a viewer.
        ExportError: the folder is not empty, the rows do not fit a table, or a file cannot be read or written.
    """
    from datasets import Dataset

    actor.require("export")
    if words := why_folder_unusable(folder, new=True):
        raise ExportError(words)
    found = [item.value for item in read_records(out) if isinstance(item, RawRecord)]
    records = [record for record in found if isinstance(record, dict)]
    if len(records) < len(found):
        raise ExportError(f"{out} holds rows that are not objects, which a table cannot hold; export as messages")
    try:
        made = Dataset(table_of(records))
    except ExportError as error:
        raise ExportError(f"the rows of {out} do not fit a table ({first_line(error)}); export as messages") from error
    try:
        made.save_to_disk(str(folder.absolute()))  # else ~ and s3:// would lead elsewhere
    except OSError as error:
        raise ExportError(f"{folder} cannot be written ({error.strerror or error})") from error
    return len(made)


def push_to_hub(out: Path, repo_id: str, token: str, *, actor: Actor, private: bool = True) -> str:
    """Uploads an exported file with its manifest and a card, and returns the URL of the commit.

    Creates the repository if necessary. Paths of this machine are removed from the manifest.

    Args:
        repo_id: "owner/name".
        token: with write access.
        actor: the visitor.
        private: whether a new repository is private.

    Raises:
        NotAllowed: the visitor is a viewer.
        ExportError: the token or the manifest is missing, or the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # the hub's name for it in every version

    actor.require("export")
    if not token.strip():
        raise ExportError("a token with the right to write is needed; make one in the hub's settings")
    manifest = read_manifest(manifest_path(out))
    api = HfApi(token=token.strip())
    with tempfile.TemporaryDirectory() as name:
        _copy_files(Path(name), out, manifest)
        try:
            api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo_id,
                folder_path=name,
                repo_type="dataset",
                commit_message=f"{manifest.output.rows:,} rows chosen by DELIFT Studio",
            )
        except HFValidationError as error:
            raise ExportError(f"{repo_id!r} is not a hub id; write it as owner/name") from error
        except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
            reason = first_line(error).replace(token.strip(), "…")
            raise ExportError(
                f"{repo_id} was not uploaded ({reason}); check the token's rights and the network"
            ) from None
    return str(done.commit_url)


def _copy_files(folder: Path, out: Path, manifest: Manifest) -> None:
    """The files of the repository: the data, its manifest and the card as README.md."""
    try:
        shutil.copyfile(out, folder / out.name)
    except OSError as error:
        raise ExportError(f"{out} cannot be read ({error.strerror}); export again") from error
    document = json.loads(manifest_path(out).read_text(encoding="utf-8"))
    for entry in document["inputs"]:
        if Path(entry["origin"]).is_absolute():
            entry["origin"] = Path(entry["origin"]).name
    if Path(document["model"]["name"]).is_absolute():
        document["model"]["name"] = Path(document["model"]["name"]).name
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    (folder / manifest_path(out).name).write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(card(manifest), encoding="utf-8")
