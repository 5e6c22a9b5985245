"""Draft trees: the law of what is emitted, by enumeration and by frequency, and every back end against the reference."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")

from kernel_cases import BACKENDS, DEVICE, chi_square, device_of, on, random_legal, table_of  # noqa: E402
from naive_sampling import emitted_law, masked_softmax  # noqa: E402

from maskwright.kernels.backends import EmptyMaskError  # noqa: E402
from maskwright.kernels.drafts import DraftTrees, Verified, gather_path, verify_drafts  # noqa: E402
from maskwright.kernels.sampling import sample_tokens  # noqa: E402

METHODS = ["match", "ratio", "without_replacement"]


class Trees:
    """Random trees over a few tokens, their logits, masks and proposals."""

    def __init__(self, seed: int, batch: int, nodes: int, columns: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        random = np.random.default_rng(seed)
        parents = [[-1, *(int(random.integers(0, node)) for node in range(1, nodes))] for _ in range(batch)]
        tokens = random.integers(0, 3, (batch, nodes)).tolist()
        self.trees = DraftTrees.from_parents(tokens, parents)
        self.logits = 2 * torch.randn(batch, nodes, columns, generator=generator)
        self.logits[..., :3] += 3 + np.log(columns)
        self.table = table_of(random_legal(9, columns, 0.6, generator))
        self.rows = torch.randint(-1, 9, (batch, nodes), generator=generator).to(torch.int32)
        self.proposal = torch.randn(batch, nodes, columns, generator=generator).softmax(-1)
        self.temperature = torch.rand(batch, generator=generator) * 2
        self.temperature[0] = 0

    def verified(self, method: str, backend: str) -> Verified:
        device = device_of(backend)
        trees = DraftTrees(*(getattr(self.trees, name).to(device) for name in DraftTrees.__slots__))
        logits, table, rows, heat, proposal = on(
            device, self.logits, self.table, self.rows, self.temperature, self.proposal
        )
        return verify_drafts(
            trees,
            logits,
            table,
            rows=rows,
            method=method,
            proposal=None if method == "match" else proposal,
            temperature=heat,
            seed=3,
            position=torch.arange(len(logits), device=device),
            backend=backend,
        )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", BACKENDS[1:])
@pytest.mark.parametrize(
    ("nodes", "columns", "batch"), [(6, 5, 4), (2, 2500, 1), pytest.param(6, 40, 40, marks=pytest.mark.long)]
)
def test_back_ends_take_the_same_paths(backend: str, method: str, nodes: int, columns: int, batch: int) -> None:
    case = Trees(nodes, batch, nodes, columns)
    expected, found = case.verified(method, "torch"), case.verified(method, backend)
    for name in ("path", "length", "token"):
        assert torch.equal(getattr(found, name).cpu(), getattr(expected, name))
    torch.testing.assert_close(found.logprob.cpu(), expected.logprob, atol=1e-4, rtol=1e-4)
    assert nodes == 2 or expected.length.max() > 1, "nothing was ever accepted: the case tests little"


@pytest.mark.parametrize("without_replacement", [False, True])
@pytest.mark.parametrize("children", [1, 2, 3])
def test_the_rules_by_ratio_are_exact_by_enumeration(children: int, without_replacement: bool) -> None:
    """Over all ways to draft the children; masked target, masked and unmasked proposal."""
    random = np.random.default_rng(children)
    for masked in (True, False):
        legal = np.array([1, 0, 1, 1], bool)
        target = masked_softmax(random.normal(size=4), legal, 1.0)
        proposal = masked_softmax(random.normal(size=4), legal if masked else np.ones(4, bool), 1.0)
        law = emitted_law(target, proposal, children, without_replacement)
        np.testing.assert_allclose(law, target, atol=1e-12)


def drafted(proposal: np.ndarray, count: int, children: int, without_replacement: bool, seed: int) -> np.ndarray:
    """int [count, children]: tokens drawn from the proposal."""
    random = np.random.default_rng(seed)
    if not without_replacement:
        return random.choice(len(proposal), (count, children), p=proposal)
    return np.argsort(-(np.log(proposal) + random.gumbel(size=(count, len(proposal)))), 1)[:, :children]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_emitted_has_the_law_of_the_target(method: str) -> None:
    """In numba; the others take the same paths, by the test above.

    Two levels: three children behind node 0, one behind the first. The first two tokens, against the masked target.
    """
    without, count = method == "without_replacement", 40_000
    random = np.random.default_rng(4)
    logits = random.normal(size=(5, 6)).astype(np.float32) * 1.5  # at node 0, and behind each of five tokens below
    logits = np.concatenate([logits, random.normal(size=(2, 6)).astype(np.float32)])
    legal = random.random((7, 6)) < 0.7
    legal[:, 2] = True
    proposals = np.stack([masked_softmax(random.normal(size=6), np.ones(6, bool), 1.0) for _ in range(7)])
    children = drafted(proposals[0], count, 3, without, 8)
    below = np.array([random.choice(6, p=proposals[1 + token]) for token in children[:, 0]])
    tokens = np.concatenate([np.zeros((count, 1), int), children, below[:, None]], 1)
    trees = DraftTrees.from_parents(tokens[:1].tolist(), [[-1, 0, 0, 0, 1]])
    links = {
        name: getattr(trees, name).expand(count, -1).contiguous() for name in ("first_child", "next_sibling", "depth")
    }
    trees = DraftTrees(torch.from_numpy(tokens), **links)
    place = np.where(np.arange(5) == 0, 0, 1 + tokens)  # which distribution holds behind each node
    place[:, 0] = 0
    found = verify_drafts(
        trees,
        torch.from_numpy(logits)[torch.from_numpy(place)],
        table_of(torch.from_numpy(legal)),
        rows=torch.from_numpy(place.astype(np.int32)),
        method=method,
        proposal=None if method == "match" else torch.from_numpy(proposals).float()[torch.from_numpy(place)],
        temperature=1.0,
        seed=torch.arange(count),
        backend="numba",
    )
    path, last, length = found.path.numpy(), found.token.numpy(), found.length.numpy()
    first = np.where(length > 1, np.take_along_axis(tokens, np.maximum(path[:, 1:2], 0), 1)[:, 0], last)
    law = masked_softmax(logits[0], legal[0], 1.0)
    statistic, bound = chi_square(np.bincount(first, minlength=6), count * law)
    assert statistic < bound
    for token in range(6):  # the second token, behind each first one that was a draft
        behind = (length > 1) & (first == token)
        if behind.sum() < 30:
            continue
        second = np.where(length > 2, np.take_along_axis(tokens, np.maximum(path[:, 2:3], 0), 1)[:, 0], last)[behind]
        statistic, bound = chi_square(
            np.bincount(second, minlength=6), behind.sum() * masked_softmax(logits[1 + token], legal[1 + token], 1.0)
        )
        assert statistic < bound


def test_a_wrong_proposal_is_caught() -> None:
    """Negative control of the test above: drafts of the likeliest token, judged by ratio, do not give the target's law."""
    count = 20_000
    tokens = torch.ones((count, 2), dtype=torch.int64)
    links = DraftTrees.from_parents([[0, 1]], [[-1, 0]])
    trees = DraftTrees(
        tokens, *(getattr(links, name).expand(count, -1).contiguous() for name in DraftTrees.__slots__[1:])
    )
    proposal = torch.tensor([0.2, 0.6, 0.2]).expand(count, 2, -1)
    target = torch.tensor([0.5, 0.3, 0.2])
    found = verify_drafts(
        trees,
        target.log().expand(count, 2, -1),
        torch.tensor([[-1]], dtype=torch.int32),
        rows=torch.zeros((count, 2), dtype=torch.int32),
        method="ratio",
        proposal=proposal,
        temperature=1.0,
        seed=torch.arange(count),
    )
    first = np.where(found.length.numpy() > 1, 1, found.token.numpy())
    statistic, bound = chi_square(np.bincount(first, minlength=3), count * target.numpy().astype(float))
    assert statistic > bound


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_draft_that_is_not_allowed_is_never_taken(backend: str, method: str) -> None:
    """The model gives it 0.999, the drafter all but nothing, so that any ratio but zero would take it."""
    device, count = device_of(backend), 20_000 if backend == "numba" else 6
    trees = DraftTrees.from_parents([[0, 1, 1]] * count, [[-1, 0, 1]] * count, device)
    found = verify_drafts(
        trees,
        torch.tensor([0.0005, 0.999, 0.0005], device=device).log().expand(count, 3, -1),
        torch.tensor([[0b101]], dtype=torch.int32, device=device),
        rows=torch.zeros((count, 3), dtype=torch.int32, device=device),
        method=method,
        proposal=None if method == "match" else torch.tensor([0.5, 0.0, 0.5], device=device).repeat(count, 3, 1),
        temperature=1.0,
        seed=torch.arange(count, device=device),
        backend=backend,
    )
    assert (found.length == 1).all()
    assert set(found.token.tolist()) <= {0, 2}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_matching_emits_what_plain_sampling_from_the_seed_does(temperature: float) -> None:
    """A chain of drafts that are right for a while: the tokens, and where the path ends."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 30, generator=generator)
    table = table_of(random_legal(6, 30, 0.5, generator))
    plain = sample_tokens(
        logits, table, temperature=temperature, seed=9, position=torch.arange(100, 106)
    ).token.tolist()
    for right in range(6):
        drafts = [token if depth < right else (token + 1) % 30 for depth, token in enumerate(plain[:5])]
        trees = DraftTrees.from_parents([[0, *drafts]], [[-1, 0, 1, 2, 3, 4]])
        found = verify_drafts(trees, logits[None], table, temperature=temperature, seed=9, position=100)
        emitted = [*drafts[: int(found.length) - 1], int(found.token)]
        assert emitted == plain[: right + 1]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy's, of the interpreter's inf - inf
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tree_without_an_allowed_token_raises_on_the_host_and_has_no_token_on_a_device(
    backend: str, method: str
) -> None:
    device = device_of(backend)
    trees, out = DraftTrees.from_parents([[0, 1]], [[-1, 0]], device), Verified(1, 2, 3, device, method)
    proposal = None if method == "match" else torch.full((1, 2, 3), 1 / 3, device=device)
    arguments = trees, torch.zeros(1, 2, 3, device=device), torch.zeros((2, 1), dtype=torch.int32, device=device)
    options = {"method": method, "proposal": proposal, "temperature": 1.0, "out": out, "backend": backend}
    if device.type == "cpu":
        with pytest.raises(EmptyMaskError, match="row 0:"):
            verify_drafts(*arguments, **options)
    else:
        verify_drafts(*arguments, **options)
    # What a device returns, and the host has written before it raised.
    assert (out.token.tolist(), out.length.tolist(), out.path.tolist()) == ([-1], [1], [[0, -1]])


def test_nothing_to_draw_at_the_end_of_a_path_is_an_error_and_elsewhere_is_not() -> None:
    trees = DraftTrees.from_parents([[0, 1]], [[-1, 0]])
    logits = torch.tensor([[[5.0, 0.0], [0.0, 0.0]]])
    table = torch.tensor([[0b11], [0]], dtype=torch.int32)  # nothing is allowed behind node 1
    assert verify_drafts(trees, logits, table).token.tolist() == [0]
    with pytest.raises(EmptyMaskError) as raised:
        verify_drafts(trees, logits.flip(2), table)
    assert raised.value.rows == (0,)


@pytest.mark.parametrize("backend", ["torch", BACKENDS[2]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_cache_of_the_path_is_moved_together(backend: str, dtype: torch.dtype) -> None:
    device = device_of(backend)
    cache = torch.randn(3, 2, 12, 20).to(dtype)[:, :, :, ::2]
    path = torch.tensor([[0, 1, 3, -1], [0, 2, 4, 5], [0, -1, -1, -1]])
    (moved,) = on(device, cache.clone())
    gather_path(moved, torch.tensor([4, 0, 5], device=device), path.to(device), backend=backend)
    for row, (start, nodes) in enumerate([(4, [0, 1, 3]), (0, [0, 2, 4, 5]), (5, [0])]):
        kept = [*range(start), *(start + node for node in nodes)]
        assert torch.equal(moved[row, :, : len(kept)].cpu(), cache[row][:, kept])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "greedy"}, "choose 'match'"),
        ({"method": "ratio"}, "proposal="),
        ({"proposal": torch.zeros(1, 2, 4)}, "proposal="),
        ({"method": "ratio", "proposal": torch.zeros(1, 2, 3)}, "must be float32"),
        ({"trees": DraftTrees.from_parents([[0]], [[-1]])}, "the trees must be int64"),
        ({"rows": torch.zeros((1, 1), dtype=torch.int32)}, "one for each row"),
    ],
)
def test_arguments_that_do_not_fit(change: dict, message: str) -> None:
    arguments = {"trees": DraftTrees.from_parents([[0, 1]], [[-1, 0]])} | change
    with pytest.raises(ValueError, match=message):
        verify_drafts(
            arguments.pop("trees"), torch.zeros(1, 2, 4), torch.full((2, 1), -1, dtype=torch.int32), **arguments
        )


@pytest.mark.parametrize("parents", [[0, 0], [-1, 1], [-1, 2], [-1]])
def test_trees_whose_parents_do_not_come_first(parents: list[int]) -> None:
    with pytest.raises(ValueError, match=r"tree 0|shorter"):
        DraftTrees.from_parents([[5, 6]], [parents])


@pytest.mark.skipif(DEVICE.type != "cuda", reason="a CUDA graph needs a GPU")
@pytest.mark.parametrize("method", METHODS)
def test_verification_is_captured_in_a_cuda_graph(method: str) -> None:
    case = Trees(2, 8, 6, 3000)
    trees = DraftTrees(*(getattr(case.trees, name).to(DEVICE) for name in DraftTrees.__slots__))
    logits, table, rows, heat, proposal = on(
        DEVICE, case.logits, case.table, case.rows, case.temperature, case.proposal
    )
    seed, position = torch.arange(8, device=DEVICE), torch.arange(8, device=DEVICE)
    out = Verified(8, 6, 3000, DEVICE, method)

    def step() -> None:
        verify_drafts(
            trees,
            logits,
            table,
            rows=rows,
            method=method,
            proposal=None if method == "match" else proposal,
            temperature=heat,
            seed=seed,
            position=position,
            out=out,
        )

    step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    seed += 1
    graph.replay()
    path, token = out.path.clone(), out.token.clone()
    step()
    assert torch.equal(out.path, path)
    assert torch.equal(out.token, token)
