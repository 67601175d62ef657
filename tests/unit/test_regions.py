"""Repeated blocks are compiled once for all, and the model that they belong to stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_compilecache.compiling.regions import compile_regions, repeated_blocks, sharing_copy
from pytest_compilecache.errors import CompileOptionWarning

torch = pytest.importorskip("torch")
nn = torch.nn
# Of which torch warns at the input of each layer but the first; who compiles hides it.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute")


class Block(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        return x + self.dropout(self.linear(self.norm(x)).relu())


class Deep(nn.Module):
    def __init__(self, depth: int = 12) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(depth))
        self.head = nn.Linear(4, 2)

    def encode(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, x: Any) -> Any:
        return self.head(self.encode(self.embed(x)))


class Counting:
    """A backend that runs graphs as they are and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return graph.forward


@pytest.fixture
def backend() -> Iterator[Counting]:
    torch._dynamo.reset()
    yield Counting()
    torch._dynamo.reset()


@pytest.fixture
def compile_one(backend: Counting) -> Callable[[Any], Any]:
    # fullgraph: past its recompile limit Dynamo would run the rest eager without a word.
    return lambda target: torch.compile(target, backend=backend, fullgraph=True)


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return Deep().eval()


def test_twelve_blocks_are_compiled_once(model: Any, compile_one: Any, backend: Counting):
    x = torch.randn(3, 4)
    torch.testing.assert_close(compile_regions(model, compile_one)(x), model(x))
    assert backend.graphs == 1


@torch.no_grad()
def test_twelve_layers_of_torchs_own_are_compiled_once(compile_one: Any, backend: Counting):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    encoder = nn.TransformerEncoder(layer, 12, enable_nested_tensor=False)
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(compile_regions(encoder, compile_one)(x), encoder(x))
    assert backend.graphs == 1


def test_original_stays_eager_and_untouched(model: Any, compile_one: Any, backend: Counting):
    before = [(name, id(module), set(vars(module))) for name, module in model.named_modules()]
    compile_regions(model, compile_one)(torch.randn(3, 4))
    assert [(n, id(m), set(vars(m))) for n, m in model.named_modules()] == before
    compiled_by_then = backend.graphs
    model(torch.randn(5, 4))
    assert backend.graphs == compiled_by_then


def test_regional_model_passes_for_the_original(model: Any, compile_one: Any):
    regional = compile_regions(model, compile_one)
    assert isinstance(regional, Deep)
    assert isinstance(regional.blocks[3], Block)
    assert list(regional.state_dict()) == list(model.state_dict())
    assert [name for name, _ in regional.named_modules()] == [n for n, _ in model.named_modules()]
    ours, theirs = dict(regional.named_parameters()), dict(model.named_parameters())
    assert all(ours[name] is parameter for name, parameter in theirs.items())


@torch.no_grad()
def test_other_methods_than_forward_use_compiled_blocks(
    model: Any, compile_one: Any, backend: Counting
):
    compile_regions(model, compile_one).encode(torch.randn(3, 4))
    assert backend.graphs == 1


def test_training_the_regional_model_trains_the_original(compile_one: Any):
    torch.manual_seed(0)
    model, x = Deep().eval(), torch.randn(3, 4)
    expected = torch.autograd.grad(model(x).sum(), list(model.parameters()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    regional = compile_regions(model, compile_one)
    regional(x).sum().backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    optimizer.step()
    torch.testing.assert_close(regional(x), model(x))


def test_first_block_compiles_apart_where_its_input_needs_no_gradient(
    compile_one: Any, backend: Counting
):
    blocks = nn.Sequential(*(Block() for _ in range(12)))
    compile_regions(blocks, compile_one)(torch.randn(3, 4))
    assert backend.graphs == 2


def test_training_mode_is_followed(model: Any, compile_one: Any, backend: Counting):
    regional, x = compile_regions(model, compile_one), torch.randn(64, 4)
    torch.testing.assert_close(regional(x), regional(x))
    regional.train()
    assert not torch.equal(regional(x), regional(x))
    assert not model.training
    assert not model.blocks[0].training
    regional.eval()
    torch.testing.assert_close(regional(x), model(x))
    assert backend.graphs == 2


def test_loaded_or_replaced_parameters_are_seen_by_both(model: Any, compile_one: Any):
    regional, x = compile_regions(model, compile_one), torch.randn(3, 4)
    regional(x)
    regional.load_state_dict({k: v + 0.5 for k, v in model.state_dict().items()})
    torch.testing.assert_close(regional(x), model(x))
    model.blocks[5].linear.weight = nn.Parameter(torch.ones(4, 4))
    torch.testing.assert_close(regional(x), model(x))
    model.double()
    torch.testing.assert_close(regional(x.double()), model(x.double()))


def test_hooks_run_wherever_they_were_put(model: Any, compile_one: Any):
    seen = []
    model.blocks[2].register_forward_hook(lambda *_: seen.append("before"))
    regional = compile_regions(model, compile_one)
    model.blocks[2].register_forward_hook(lambda *_: seen.append("after"))
    regional(torch.randn(3, 4))
    assert seen == ["before", "after"]


def test_deep_copy_has_parameters_of_its_own(model: Any, compile_one: Any):
    regional, x = compile_regions(model, compile_one), torch.randn(3, 4)
    own, expected = copy.deepcopy(regional), model(x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.testing.assert_close(own(x), expected)
    assert not regional(x).any()


def test_model_without_repeated_blocks_is_compiled_whole_and_told(
    compile_one: Any, backend: Counting
):
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
    with pytest.warns(CompileOptionWarning, match="no repeated blocks"):
        compiled = compile_regions(plain, compile_one)
    x = torch.randn(3, 4)
    torch.testing.assert_close(compiled(x), plain(x))
    assert backend.graphs == 1


def test_blocks_that_repeat_within_blocks_that_do_not_are_found():
    stages = nn.ModuleList(
        nn.Sequential(Block(width), Block(width), Block(width)) for width in (4, 8)
    )
    assert repeated_blocks(stages) == [block for stage in stages for block in stage]


def test_outermost_of_nested_blocks_is_compiled():
    layers = nn.ModuleList(nn.Sequential(Block(), Block()) for _ in range(3))
    assert repeated_blocks(layers) == list(layers)


@torch.no_grad()
def test_block_used_many_times_is_compiled_once_and_stays_one(compile_one: Any, backend: Counting):
    block = Block().eval()
    shared = nn.Sequential(*[block] * 6)
    assert repeated_blocks(shared) == [block]
    regional, x = compile_regions(shared, compile_one), torch.randn(3, 4)
    assert len({id(module) for module in regional}) == 1
    torch.testing.assert_close(regional(x), shared(x))
    assert backend.graphs == 1


def test_method_that_was_put_on_a_module_follows_the_copy():
    model = Deep(2)
    model.first = model.encode
    assert sharing_copy(model).first.__self__ is not model


def test_blocks_of_parametrized_layers_do_not_repeat_for_dynamo_and_are_compiled_whole(
    compile_one: Any, backend: Counting
):
    torch.manual_seed(0)
    model = Deep(10).eval()
    for block in model.blocks:
        # Each gets a class of its own, on which compiled code depends.
        nn.utils.parametrizations.weight_norm(block.linear)
    x = torch.randn(3, 4)
    with pytest.warns(CompileOptionWarning, match="no repeated blocks"):
        compiled = compile_regions(model, compile_one)
    torch.testing.assert_close(compiled(x), model(x))
    assert backend.graphs == 1
