"""Draws and filters: every back end against loops in float64, against each other to the last bit, and by their frequencies."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")

from kernel_cases import (  # noqa: E402
    BACKENDS,
    DEVICE,
    DTYPES,
    LAYOUTS,
    chi_square,
    device_of,
    on,
    random_legal,
    random_logits,
    table_of,
)
from naive_sampling import filtered, log_valid_mass, masked_softmax  # noqa: E402

from maskwright.kernels.backends import NO_TOKEN, EmptyMaskError  # noqa: E402
from maskwright.kernels.noise import WEIGHT_BITS  # noqa: E402
from maskwright.kernels.sampling import Draws, filter_cutoffs, sample_tokens  # noqa: E402
from maskwright.kernels.torch_noise import coins, gumbel, integer_weights, philox  # noqa: E402

OTHERS = BACKENDS[1:]  # beside the reference


class Case:
    """Rows of logits with masks, temperatures, seeds and filters, all random."""

    def __init__(
        self, seed: int, columns: int, density: float, dtype: torch.dtype, layout: str, batch: int = 5
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.legal = random_legal(7, columns, density, generator)
        self.logits = random_logits(batch, columns, dtype, layout, generator)
        self.rows = torch.randint(-1, 7, (batch,), generator=generator).to(torch.int32)
        self.temperature = torch.tensor([0.0, 1.0, 0.5, 2.0, 0.01])[torch.arange(batch) % 5]
        self.seed = torch.randint(-(2**62), 2**62, (batch,), generator=generator)
        self.position = torch.randint(0, 2**33, (batch,), generator=generator)
        self.top_k = torch.tensor([0, 3, 10, 0, 1], dtype=torch.int32)[torch.arange(batch) % 5]
        self.top_p = torch.tensor([1.0, 0.9, 0.5, 0.99, 0.3])[torch.arange(batch) % 5]
        self.min_p = torch.tensor([0.0, 0.0, 0.1, 0.3, 1.0])[torch.arange(batch) % 5]

    def legal_in(self, row: int) -> np.ndarray:
        number = int(self.rows[row])
        return self.legal[number].numpy() if number >= 0 else np.ones(self.legal.shape[1], bool)

    def cutoffs(self, backend: str) -> torch.Tensor:
        logits, table, rows, *options = on(
            device_of(backend),
            self.logits,
            table_of(self.legal),
            self.rows,
            self.temperature,
            self.top_k,
            self.top_p,
            self.min_p,
        )
        names = ("temperature", "top_k", "top_p", "min_p")
        return filter_cutoffs(logits, table, rows=rows, backend=backend, **dict(zip(names, options, strict=True))).cpu()

    def draws(self, backend: str, cutoff: torch.Tensor | None = None) -> Draws:
        logits, table, rows, *options = on(
            device_of(backend),
            self.logits,
            table_of(self.legal),
            self.rows,
            self.temperature,
            self.seed,
            self.position,
            *([] if cutoff is None else [cutoff]),
        )
        names = ("temperature", "seed", "position", "cutoff")
        return sample_tokens(logits, table, rows=rows, backend=backend, **dict(zip(names, options, strict=False)))

    def check(self, backend: str) -> None:
        """A back end's results are the reference's: exactly, but for the last bits of sums."""
        cutoff = self.cutoffs("torch")
        assert torch.equal(self.cutoffs(backend), cutoff)
        for least in (None, cutoff):
            expected, found = self.draws("torch", least), self.draws(backend, least)
            assert torch.equal(found.token.cpu(), expected.token)
            torch.testing.assert_close(found.logprob.cpu(), expected.logprob, atol=2e-5, rtol=1e-5)
            torch.testing.assert_close(found.log_valid_mass.cpu(), expected.log_valid_mass, atol=2e-5, rtol=1e-5)


CASES = [(17, 0.5), (32, 1.0), (33, 0.01), (200, 0.9), (1500, 0.3), (9000, 0.001)]  # the last in two parts


# -------------------------------------------------------------------------------------------------------------- noise


def test_philox_gives_the_known_answers() -> None:
    """Of the authors' own table: key and counter all zeros, all ones, and digits of pi."""
    zero, ones = torch.tensor(0), torch.tensor(0xFFFFFFFF)
    pi = [torch.tensor(word) for word in (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)]
    key_of_pi = torch.tensor(0x299F31D0A4093822)
    found = [philox(zero, (zero,) * 4), philox(torch.tensor(-1), (ones,) * 4), philox(key_of_pi, tuple(pi))]
    assert [[f"{int(word):08x}" for word in words] for words in found] == [
        ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"],
        ["408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"],
        ["d16cfe09", "94fdcceb", "5001e420", "24126ea1"],
    ]


def test_noise_has_gumbels_distribution_and_streams_and_positions_have_their_own() -> None:
    seed, position = torch.full((4,), 7), torch.tensor([0, 1, 2**32 - 1, 5])
    noise = gumbel(seed, position, 30_000, 0).double()
    for row in noise:
        ordered = torch.exp(-torch.exp(-row)).sort().values  # uniform
        steps = torch.arange(1, 30_001) / 30_000
        assert (ordered - steps).abs().max() < 2.2 / math.sqrt(30_000)  # Kolmogorov and Smirnov, one in ten thousand
    correlations = torch.corrcoef(torch.cat([noise, gumbel(seed[:1], position[:1], 30_000, 2).double()]))
    assert (correlations - torch.eye(5)).abs().max() < 0.025


def test_coins_are_uniform_and_integer_weights_are_exponentials() -> None:
    tossed = coins(torch.full((30_000,), 3), torch.arange(30_000) % 1000, torch.arange(30_000) // 1000)
    assert 0 <= tossed.min()
    assert tossed.max() < 1
    assert (tossed.sort().values - torch.arange(30_000) / 30_000).abs().max() < 2.2 / math.sqrt(30_000)
    exponent = -torch.arange(0, 40, 0.01)
    weights = integer_weights(exponent)
    assert weights[0] == 1 << WEIGHT_BITS
    assert (weights.diff() <= 0).all()
    torch.testing.assert_close(weights.double() / 2**WEIGHT_BITS, exponent.double().exp(), atol=1e-12, rtol=1e-6)
    assert integer_weights(torch.tensor([-torch.inf, torch.nan, -1e30])).tolist() == [0, 0, 0]


# ------------------------------------------------------------------------------------------- against loops, and each other


@pytest.mark.parametrize(("columns", "density"), CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_reference_is_what_loops_in_float64_say(columns: int, density: float, dtype: torch.dtype) -> None:
    case = Case(columns, columns, density, dtype, "contiguous")
    cutoff, draws = case.cutoffs("torch"), case.draws("torch")
    for row, values in enumerate(case.logits.float().numpy()):
        legal, temperature = case.legal_in(row), float(case.temperature[row])
        law = masked_softmax(values, legal, temperature or 1.0)
        token = int(draws.token[row])
        assert legal[token]
        assert float(draws.logprob[row]) == pytest.approx(math.log(law[token]), rel=1e-6, abs=1e-5)
        mass = log_valid_mass(values, legal, temperature)
        assert float(draws.log_valid_mass[row]) == pytest.approx(mass, rel=1e-6, abs=1e-5)
        if temperature == 0:
            assert token == np.argmax(np.where(legal, values, -np.inf))
        options = int(case.top_k[row]), float(case.top_p[row]), float(case.min_p[row])
        kept = set(np.flatnonzero(legal & (values >= float(cutoff[row]))).tolist())
        assert kept == filtered(values, legal, temperature, *options)


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize(("columns", "density"), CASES)
def test_back_ends_draw_the_same_tokens(backend: str, columns: int, density: float) -> None:
    for number in range(3 if backend == "numba" else 1):  # the interpreter takes some 40 ms a row and pass
        shape = columns, density, DTYPES[(columns + number) % 3], LAYOUTS[(columns + number) % 4]
        batch = 5 if columns < 1000 else 2
        Case(columns + number, *shape, batch=batch if backend == "numba" else (batch + 1) // 2).check(backend)


@pytest.mark.long
@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("columns", [17, 33, 200, 1500, 9000, 32_000, 128_256, 151_936])
def test_back_ends_draw_the_same_tokens_from_whole_vocabularies(backend: str, columns: int) -> None:
    for number, density in enumerate([0.0001, 0.001, 0.01, 0.5, 0.99, 1.0]):
        Case(number, columns, density, DTYPES[number % 3], LAYOUTS[number % 4]).check(backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_does_not_depend_on_its_batch(backend: str) -> None:
    case = Case(5, 300, 0.5, torch.float32, "contiguous", batch=6)
    together = case.draws(backend)
    for name in ("logits", "rows", "temperature", "seed", "position"):
        setattr(case, name, getattr(case, name)[[4, 1]])
    apart = case.draws(backend)
    for name in ("token", "logprob", "log_valid_mass"):
        assert torch.equal(getattr(apart, name), getattr(together, name)[[4, 1]])


# --------------------------------------------------------------------------------------------------------- frequencies


@pytest.mark.parametrize(
    ("backend", "count"),
    [
        ("torch", 20_000),
        ("numba", 50_000),
        *(
            pytest.param(*large, marks=pytest.mark.long)
            for large in (("torch", 10**6), ("numba", 10**6), ("triton", 2_000))
        ),
    ],
)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_tokens_come_as_often_as_the_masked_softmax_says(backend: str, count: int, temperature: float) -> None:
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    logits = torch.tensor([3.0, 0.0, 2.0, -1.0, 2.0, -torch.inf, 1.0, 0.5, -4.0])
    legal = torch.tensor([0, 1, 1, 1, 1, 1, 1, 0, 1], dtype=torch.bool)
    device = device_of(backend)
    rows = torch.zeros(count, dtype=torch.int32, device=device)
    draws = sample_tokens(
        logits.to(device).expand(count, -1),
        table_of(legal[None]).to(device),
        rows=rows,
        temperature=temperature,
        seed=11,
        position=torch.arange(count, device=device),
        backend=backend,
    )
    law = masked_softmax(logits.numpy(), legal.numpy(), temperature)
    statistic, bound = chi_square(np.bincount(draws.token.cpu(), minlength=9), count * law)
    assert statistic < bound
    # Negative control: the test tells the right temperature from another.
    statistic, bound = chi_square(
        np.bincount(draws.token.cpu(), minlength=9), count * masked_softmax(logits.numpy(), legal.numpy(), 1.5)
    )
    assert statistic > bound


@pytest.mark.parametrize(
    ("backend", "count"),
    [
        ("torch", 50_000),
        ("numba", 100_000),
        ("triton", 8),
        *(
            pytest.param(*large, marks=pytest.mark.long)
            for large in (("torch", 10**6), ("numba", 10**6), ("triton", 2_000))
        ),
    ],
)
def test_a_token_that_is_not_allowed_never_comes_however_likely(backend: str, count: int) -> None:
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    logits = torch.tensor([math.log(0.0005), math.log(0.999), math.log(0.0005)])
    device = device_of(backend)
    draws = sample_tokens(
        logits.to(device).expand(count, -1),
        torch.tensor([[0b101]], dtype=torch.int32, device=device),
        rows=torch.zeros(count, dtype=torch.int32, device=device),
        temperature=1.0,
        seed=5,
        position=torch.arange(count, device=device),
        backend=backend,
    )
    counts = torch.bincount(draws.token.cpu(), minlength=3)
    assert counts[1] == 0
    assert abs(counts[0] / count - 0.5) < 4 * 0.5 / math.sqrt(count)
    torch.testing.assert_close(draws.log_valid_mass.cpu(), torch.full((count,), math.log(0.001)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("draws", [2**10, pytest.param(2**20, marks=pytest.mark.long)])
def test_what_triton_draws_with_never_lets_a_token_through(draws: int) -> None:
    """A million draws in the interpreter, where a row of sample_tokens() takes 40 ms: each word of a tile is a row here."""
    pytest.importorskip("triton", reason="triton is not installed: pip install maskwright[gpu]")
    import word_draws

    logits = torch.full((32,), -3.0, device=DEVICE)
    logits[[3, 17]] = math.log(0.999 / 2)
    legal = torch.tensor([0b1100_0000_0000_0000_0001_0000_0100_0001 - 2**32], dtype=torch.int32, device=DEVICE)
    tokens = word_draws.drawn(logits, legal, draws, seed=6).cpu().numpy()
    allowed = np.isin(np.arange(32), [0, 6, 12, 30, 31])
    law = allowed / allowed.sum()
    statistic, bound = chi_square(np.bincount(tokens, minlength=32), draws * law)  # cells of nothing must be empty
    assert statistic < bound


# ------------------------------------------------------------------------------------------------------------- the edges


@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_logits_greedy_takes_the_first_allowed(backend: str) -> None:
    device = device_of(backend)
    logits = torch.tensor([[1.0, 7, 7, 7] * 20], device=device)
    draws = sample_tokens(
        logits, torch.tensor([[0b1000] + [-1] * 2], dtype=torch.int32, device=device), backend=backend
    )
    assert draws.token.tolist() == [3]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy's, of the interpreter's inf - inf
@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_that_nothing_can_be_drawn_from(backend: str) -> None:
    """Empty, only -inf allowed, NaN allowed, infinity allowed; then what is not allowed is NaN and infinity."""
    device = device_of(backend)
    nan, inf = torch.nan, torch.inf
    logits = torch.tensor(
        [[0, 0, 0], [-inf, 0, 0], [nan, 0, 0], [inf, 0, 0], [1.0, nan, inf], [1, 2, -inf]], device=device
    )
    table = torch.tensor([[0], [1], [0b11], [0b11], [1], [-1]], dtype=torch.int32, device=device)
    draws = sample_tokens(logits, table, temperature=1.0, raise_empty=False, backend=backend)
    assert draws.token[:5].tolist() == [NO_TOKEN] * 4 + [0]
    assert draws.logprob[:5].tolist() == [-inf] * 4 + [0]
    assert draws.log_valid_mass[:5].tolist() == [-inf] * 4 + [0]
    assert draws.token[5] in (0, 1)
    assert filter_cutoffs(logits[:2], table[:2], top_k=1, top_p=0.5, min_p=0.5, backend=backend).tolist() == [-inf] * 2
    with pytest.raises(EmptyMaskError, match="row 0, 1, 2, 3:") as raised:
        sample_tokens(logits, table, temperature=1.0, raise_empty=True, backend=backend)
    assert raised.value.rows == (0, 1, 2, 3)
    if device.type == "cpu":  # on the host nobody has to ask for it
        with pytest.raises(EmptyMaskError, match="row 0:"):
            sample_tokens(logits[:1], table[:1], with_mass=False, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_masses_far_below_what_float32_can_hold(backend: str) -> None:
    device = device_of(backend)
    logits = torch.tensor([[0.0, -500.0, -501.0]], device=device)
    draws = sample_tokens(logits, torch.tensor([[0b110]], dtype=torch.int32, device=device), backend=backend)
    assert float(draws.log_valid_mass) == pytest.approx(-500 + math.log1p(math.exp(-1)), abs=1e-3)
    assert float(draws.logprob) == pytest.approx(-math.log1p(math.exp(-1)), abs=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_are_written_where_out_says(backend: str) -> None:
    device = device_of(backend)
    logits, table = torch.randn(2, 50, device=device), torch.full((2, 2), -1, dtype=torch.int32, device=device)
    out = Draws(2, 50, device)
    draws = sample_tokens(logits, table, temperature=1.0, seed=2**64 - 1, out=out, backend=backend)
    assert draws is out
    assert torch.equal(draws.token, sample_tokens(logits, table, temperature=1.0, seed=-1, backend=backend).token)
    with pytest.raises(ValueError, match="make Draws"):
        sample_tokens(logits[:1], table[:1], out=out, backend=backend)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"logits": torch.zeros(2, 40, dtype=torch.float64)}, TypeError, r"\.float\(\)"),
        ({"logits": np.zeros((2, 40), np.float32)}, TypeError, "torch tensor"),
        ({"logits": torch.zeros(40)}, ValueError, "2 dimensions"),
        ({"table": torch.zeros(2, dtype=torch.int32)}, ValueError, "2 dimensions"),
        ({"temperature": torch.zeros(3)}, ValueError, "temperature"),
        ({"seed": torch.zeros((2, 2), dtype=torch.int64)}, ValueError, "seed"),
        ({"backend": "xla"}, ValueError, "choose"),
    ],
)
def test_arguments_that_do_not_fit(change: dict, error: type[Exception], message: str) -> None:
    arguments = {"logits": torch.zeros(2, 40), "table": torch.full((2, 2), -1, dtype=torch.int32)} | change
    with pytest.raises(error, match=message):
        sample_tokens(arguments.pop("logits"), arguments.pop("table"), **arguments)


@pytest.mark.parametrize("option", [{"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}, {"min_p": -0.1}])
def test_filters_out_of_range(option: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        filter_cutoffs(torch.zeros(1, 4), torch.full((1, 1), -1, dtype=torch.int32), **option)


@pytest.mark.skipif(DEVICE.type != "cuda", reason="a CUDA graph needs a GPU")
def test_a_step_is_captured_in_a_cuda_graph() -> None:
    """Masks, filters and draws of a step, replayed on new logits and new row numbers without a host in between."""
    case = Case(3, 5000, 0.5, torch.bfloat16, "contiguous")
    logits, table, rows, heat, seed, position, top_k, top_p = on(
        DEVICE,
        case.logits,
        table_of(case.legal),
        case.rows,
        case.temperature,
        case.seed,
        case.position,
        case.top_k,
        case.top_p,
    )
    out, least = Draws(5, 5000, DEVICE), torch.empty(5, device=DEVICE)

    def step() -> None:
        filter_cutoffs(logits, table, rows=rows, temperature=heat, top_k=top_k, top_p=top_p, out=least)
        sample_tokens(logits, table, rows=rows, temperature=heat, seed=seed, position=position, cutoff=least, out=out)

    step()  # compiled outside of the graph
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    logits.copy_(logits.flip(1))
    rows.copy_(rows.flip(0))
    position += 1
    graph.replay()
    replayed = out.token.clone()
    step()
    assert torch.equal(out.token, replayed)
