# %% Choose the rows that are worth fine-tuning on. Run this cell by cell, or as a whole: it takes about a minute.
import datasets

import delift_core as delift
from delift_core.data import sample_project_files

# %% Any rows will do: a datasets.Dataset, a DataFrame, a list of dicts, or a path
pool = datasets.load_dataset("json", data_files=str(sample_project_files().pool), split="train").select(range(20))
# %% How much does each row help the model with each other row?
scored = delift.score(pool, model="bundled", workspace="work")
# %% The rows that together help most, and why the first of them was chosen
subset = delift.select(scored, budget="30%")
print(subset, subset.explain(int(subset.indices[0])))
# %% For a trainer, in the order of choice
subset.to_dataset().to_json("subset.jsonl")
