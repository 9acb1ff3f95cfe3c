"""What the mathematics promises, checked on small cases against independent answers.

The utility under KL is the conditional PMI; greedy is within 1 - 1/e of the exact optimum and its certificate holds; a
planted best subset is found.
"""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from delift_core.models.encoded import EncodedSample
from delift_core.models.loading import LoadedModel
from delift_core.models.prompts import Template, make_template
from delift_core.samples import Conversation, Message
from delift_core.scoring.batches import Suffix
from delift_core.scoring.metrics import utility
from delift_core.scoring.scorer import Scorer
from delift_core.selection.coverage import value
from delift_core.selection.greedy import greedy_order
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.types import ObjectiveConfig
from tests.selection.whole import certify
from tests.tiny_models import loaded

ROWS = (("What is 2 + 2?", "4"), ("A colour?", "Blue, say."), ("Spell cat", "c-a-t"), ("Say hi", "Hello there!"))


def log_probability(model: LoadedModel, before: tuple[int, ...], response: tuple[int, ...]) -> float:
    """log p(response | before) of the model's own whole forward pass, float64 softmax, no cache."""
    with torch.inference_mode():
        logits = model.model(input_ids=torch.tensor([before + response])).logits[0].double().log_softmax(dim=-1)
    return sum(float(logits[len(before) - 1 + t, token]) for t, token in enumerate(response))


def kl_distance(model: LoadedModel, before: tuple[int, ...], response: tuple[int, ...]) -> float:
    """Sum over tokens of KL(one-hot of the right token || p) = sum_v q_v (log q_v - log p_v), with 0 log 0 = 0."""
    with torch.inference_mode():
        p = model.model(input_ids=torch.tensor([before + response])).logits[0].double().softmax(dim=-1)
    total = 0.0
    for t, token in enumerate(response):
        q = torch.zeros_like(p[0])
        q[token] = 1.0
        here = p[len(before) - 1 + t]
        total += float((torch.xlogy(q, q) - torch.xlogy(q, here)).sum())
    return total


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_utility_under_kl_is_the_conditional_pmi(family: str) -> None:
    """d_KL(alone) - d_KL(with j) = log p(y_i | x_j, y_j, x_i) - log p(y_i | x_i), and the scorer's "pmi" is both.

    In float64, so that 1e-6 is a statement about the definitions and not about rounding.
    """
    model = loaded(family)
    model.model.double()
    template = make_template(model.tokenizer)
    samples = [template.encode(Conversation((Message("user", x), Message("assistant", y)))) for x, y in ROWS]
    measured = scored(model, template, samples)
    for i, row in enumerate(samples):
        for j, example in enumerate(samples):
            alone, after = row.alone, row.before_query(example) + row.query
            by_kl = kl_distance(model, alone, row.response) - kl_distance(model, after, row.response)
            pmi = log_probability(model, after, row.response) - log_probability(model, alone, row.response)
            assert by_kl == pytest.approx(pmi, abs=1e-6)
            assert measured[i, j] == pytest.approx(pmi, abs=2e-4)  # statistics are float32 logits, kept as float32


def scored(model: LoadedModel, template: Template, samples: list[EncodedSample]) -> np.ndarray:
    """(n, n) PMI of the scorer that the app uses: shared prefixes, padded batches, logits on response positions."""
    scorer = Scorer(model, tokens_per_batch=80)
    tokens = np.array([len(sample.response) for sample in samples])

    def statistics(prefix_ids: tuple[int, ...], alone: bool) -> np.ndarray:
        found, prefix = np.zeros((len(samples), 2)), scorer.prefill(prefix_ids)
        suffixes = [Suffix(s.query_alone if alone else s.query, s.response) for s in samples]
        for batch in scorer.make_batches(suffixes):
            found[batch.rows.numpy()] = scorer.score(prefix, batch).numpy()
        return found

    before = statistics(template.head.alone, True)
    columns = [utility(before, statistics(samples[0].before_query(s), False), tokens, "pmi") for s in samples]
    return np.stack(columns, axis=1)


def exact_optimum(kernel: np.ndarray, k: int) -> float:
    """The best Facility Location value of k columns, as a mixed-integer programme (p-median form), solved by HiGHS.

    max sum_e s_e z_e with z_e <= x_j(e), sum of z_e over a row <= 1, sum_j x_j = k, x binary, z continuous; e are the
    entries of the kernel above 0, the others add nothing.
    """
    rows, n = kernel.shape
    i, j = np.nonzero(kernel > 0)
    entries = np.arange(len(i))
    values = np.repeat([1.0, -1.0, 1.0, 1.0], [len(i), len(i), len(i), n])
    at_rows = np.concatenate([entries, entries, len(i) + i, np.full(n, len(i) + rows)])
    links = coo_array((values, (at_rows, np.concatenate([n + entries, j, n + entries, np.arange(n)]))))
    upper = np.concatenate([np.zeros(len(i)), np.ones(rows), [k]])
    lower = np.concatenate([np.full(len(i) + rows, -np.inf), [k]])
    answer = milp(
        -np.concatenate([np.zeros(n), kernel[i, j]]),
        constraints=LinearConstraint(links.tocsr(), lower, upper),
        integrality=np.concatenate([np.ones(n), np.zeros(len(i))]),
        bounds=Bounds(0, 1),
    )
    assert answer.success
    return float(-answer.fun)


def test_greedy_is_within_its_bound_of_the_exact_optimum_of_200_rows() -> None:
    rng = np.random.default_rng(0)
    kernel = np.zeros((200, 200), dtype=np.float32)
    for row in range(200):
        kernel[row, rng.choice(200, 8, replace=False)] = rng.exponential(1, 8)
    order = greedy_order(kernel).order
    for k in (20, 60):
        best, reached = exact_optimum(kernel.astype(np.float64), k), value(kernel, order[:k])
        assert (1 - 1 / math.e) * best <= reached <= best * (1 + 1e-6)
        assert certify(kernel, order[:k]).upper_bound >= best * (1 - 1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_greedy_is_within_its_bound_of_the_exact_optimum_and_so_is_its_certificate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 24
    utilities = rng.normal(0, 1, (n, n)).astype(np.float32)
    np.fill_diagonal(utilities, np.nan)
    stage, sets = [
        ("instruction", {}),
        ("task", {"target": rng.normal(0, 1, (5, n)).astype(np.float32)}),
        ("continual", {"existing": rng.normal(-1, 1, (n, 6)).astype(np.float32)}),
        ("instruction", {}),
    ][seed]
    kernel = np.asarray(represented_kernel(ObjectiveConfig(stage), utilities, **sets))
    order = greedy_order(kernel).order
    for k in (3, 7):
        best = exact_optimum(kernel.astype(np.float64), k)
        reached = value(kernel, order[:k])
        assert (1 - 1 / math.e) * best <= reached <= best + 1e-6
        certificate = certify(kernel, order[:k])
        assert certificate.upper_bound >= best - 1e-4
        assert certificate.ratio <= reached / best + 1e-6


def test_a_planted_best_subset_is_found() -> None:
    """Clusters help their own; copies add nothing, shuffled answers help nobody, off-topic rows hurt."""
    clusters, each = 6, 5
    n = clusters * each
    labels = np.repeat(np.arange(clusters), each)
    rng = np.random.default_rng(0)
    utilities = np.where(labels[:, None] == labels[None, :], 0.3, -0.05) + rng.normal(0, 0.01, (n, n))
    shuffled, nowhere = np.arange(n, n + 10), np.arange(n + 10, n + 14)
    whole = np.full((n + 14, n + 14), -0.05) + rng.normal(0, 0.01, (n + 14, n + 14))
    whole[:n, :n] = utilities
    whole[:, nowhere] -= 0.2
    order = greedy_order(np.asarray(represented_kernel(ObjectiveConfig("instruction"), whole.astype(np.float32)))).order
    first = order[:clusters]
    assert set(labels[first]) == set(range(clusters))
    budget = order[: round(0.3 * (n + 14))]
    assert np.isin(budget, shuffled).sum() <= 1  # at most 10 %
    assert not np.isin(budget, nowhere).any()
