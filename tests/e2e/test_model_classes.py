"""The examples for model servers, each as two replicas: the second has only the store."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.e2e.machine import Machine, Run

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = [[number / 7 - row for number in range(16)] for row in range(3)]
NO_OTHERS: Mapping[str, object] = MappingProxyType({})

# As Truss does it: the class gets the config, load() comes before every predict().
TRUSS = """
import json, logging, sys, yaml
logging.basicConfig(stream=sys.stdout)
config = yaml.safe_load(open("config.yaml"))
config["model_metadata"]["warm_up_rows"] = {warm_up}
from model.model import Model, build_network
model = Model(config=config, data_dir="data", secrets={{}}, environment=None)
model.load()
print("ready")
rows = {rows}
print("answer:", json.dumps(model.predict({{"rows": rows}})["scores"]))
import torch
with torch.no_grad():
    print("eager:", json.dumps(build_network()(torch.tensor(rows)).tolist()))
"""

# As TorchServe's worker does it; a context has these attributes.
TORCHSERVE = """
import json, logging, sys, yaml
from types import SimpleNamespace
logging.basicConfig(stream=sys.stdout)
sys.path.insert(0, "archive")
import torch
from model import Scorer
torch.manual_seed(0)
eager = Scorer().eval()
torch.save(eager.state_dict(), {weights!r})
config = yaml.safe_load(open("archive/model-config.yaml"))
config["handler"]["warm_up_shapes"] = [[rows, 16] for rows in {warm_up}]
config["pt2"]["compile"].update({pt2})
context = SimpleNamespace(
    manifest={{"model": {{"modelFile": "model.py", "serializedFile": {weights!r}}}}},
    system_properties={{"model_dir": "archive", "gpu_id": None, "batch_size": 8}},
    model_yaml_config=config,
)
from handler import BaseHandler, CompiledHandler
print("base:", BaseHandler.__module__)
handler = CompiledHandler()
handler.initialize(context)
print("ready")
rows = {rows}
print("answer:", json.dumps(handler.handle([{{"body": row}} for row in rows], context)))
with torch.no_grad():
    print("eager:", json.dumps(eager(torch.tensor(rows)).tolist()))
"""


@dataclass
class Server:
    """An example, to be started on machines that share a store."""

    example: str
    program: str
    root: Path
    rows: list[list[float]] = field(default_factory=lambda: ROWS)
    first: Run = field(init=False)

    def start(
        self, replica: str, *, warm_up: Sequence[int] = (3,), pt2: Mapping[str, object] = NO_OTHERS
    ) -> Run:
        """Start a replica with a home and a temp directory of its own, and ask it once."""
        machine = Machine(self.root / replica)
        machine.variables["B10FS_CACHE_DIR"] = str(self.root / "store")
        weights = str(machine.tmp / "weights.pt")
        program = self.program.format(
            rows=self.rows, warm_up=list(warm_up), weights=weights, pt2=dict(pt2)
        )
        run = machine.python(program, cwd=EXAMPLES / self.example)
        assert run.code == 0, run.out
        return run


def said(run: Run, what: str) -> list[str]:
    prefix = f"{what}: "
    return [line[len(prefix) :] for line in run.out.splitlines() if line.startswith(prefix)]


def values(run: Run, what: str) -> list[list[float]]:
    (text,) = said(run, what)
    return [pytest.approx(row, rel=1e-5) for row in json.loads(text)]


@pytest.fixture(
    scope="module",
    params=[("truss", TRUSS), ("torchserve", TORCHSERVE)],
    ids=["truss", "torchserve"],
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server whose first replica has started; nobody may change what it left."""
    pytest.importorskip("yaml")
    example, program = request.param
    server = Server(example, program, tmp_path_factory.mktemp(example))
    server.first = server.start("first")
    return server


def test_first_replica_compiles_and_saves(server: Server):
    assert len(server.first.built) > 2
    assert said(server.first, "compile cache saved") == ["SUCCESS"]


def test_next_replica_has_nothing_to_compile_or_save(server: Server):
    second = server.start("second")
    assert second.built == ()
    assert said(second, "compile cache saved") == []
    assert values(second, "answer") == json.loads(said(second, "eager")[0])
    assert said(second, "answer") == said(server.first, "answer")
    assert said(second, "eager") == said(server.first, "eager")
    assert "WARNING:pytest_compilecache" not in server.first.out + second.out


def test_shape_that_a_warm_replica_meets_in_a_request_is_saved(server: Server, tmp_path: Path):
    other = replace(server, root=tmp_path, rows=ROWS[:2])
    shutil.copytree(server.root / "store", tmp_path / "store")
    replica = other.start("replica", warm_up=[3])
    assert replica.built
    assert said(replica, "compile cache saved") == ["SUCCESS"]
    assert replica.out.index("ready") < replica.out.index("compile cache saved")
    assert values(replica, "answer") == json.loads(said(replica, "eager")[0])
    assert len(list((tmp_path / "store").rglob("*.pack"))) == 2


def test_handler_compiles_nothing_where_its_config_says_so(tmp_path: Path):
    pytest.importorskip("yaml")
    run = Server("torchserve", TORCHSERVE, tmp_path).start("first", pt2={"enable": False})
    assert run.built == ()
    assert said(run, "compile cache saved") == []
    assert said(run, "answer") == said(run, "eager")
    torchserve = importlib.util.find_spec("ts") is not None
    assert said(run, "base") == ["ts.torch_handler.base_handler" if torchserve else "builtins"]
