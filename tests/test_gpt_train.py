"""The gpt template's train.py and plan.py: what they compute, on any device, and that a seed fixes it."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gpt import FROZEN, TEMPLATE, load, with_constants
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy", reason="the gpt template needs numpy")
torch = pytest.importorskip("torch", reason="the gpt template needs torch")

PLAN = {
    "device": "cpu",
    "dtype": "float32",
    "attention": "blocks",
    "threads": 1,
    "tokens_at_once": 64,
    "compile": None,
    "tokens_per_s": 1000.0,
}
SMALL = {"DEPTH": 2, "WIDTH_PER_LAYER": 16, "HEAD_DIM": 16, "SEQ_LEN": 16, "BATCH_ROWS": 8}
VOCAB = 50


def study(folder: Path, plan: dict[str, object] | None = None, **constants: object) -> dict[str, str]:
    """The template's code with a small model and random tokens, and the environment of a run of it."""
    data = folder / "data"
    data.mkdir(parents=True)
    for path in FROZEN:
        (folder / path.name).write_text(path.read_text())
    waiting: dict[str, object] = SMALL | constants
    (folder / "train.py").write_text(with_constants((TEMPLATE / "train.py").read_text(), waiting))
    assert not waiting, f"no such constants: {list(waiting)}"
    rows = np.random.default_rng(0).integers(0, VOCAB - 1, (40, 17), dtype="<u2")
    rows.tofile(data / "train.bin")
    meta = {"vocab_size": VOCAB, "bos": VOCAB - 1, "packing": "rows", "splits": {"train": {"shape": [40, 17]}}}
    (data / "meta.json").write_text(json.dumps(meta))
    (data / "plan.json").write_text(json.dumps(PLAN | (plan or {})))
    return {
        "AUTORESEARCH_DATA": str(data),
        "AUTORESEARCH_OUT": str(folder / "out"),
        "AUTORESEARCH_BUDGET": "1280",
        "AUTORESEARCH_BUDGET_UNIT": "tokens",
    }


def module(folder: Path, monkeypatch: pytest.MonkeyPatch, plan: dict[str, object] | None = None, **c: object) -> Any:
    """train.py, imported, with what it takes from the environment."""
    for name, value in study(folder, plan, **c).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "machine", raising=False)
    loaded = load(folder, "train")
    monkeypatch.setitem(sys.modules, "train", loaded)  # where `inspect` looks for a class's source
    return loaded


def start(folder: Path, told: dict[str, str], *argv: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", **told}
    command = [sys.executable, "train.py", *argv]
    return subprocess.Popen(command, cwd=folder, env=env, stdout=-1, stderr=-1, text=True)


def said(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield module(tmp_path_factory.mktemp("train"), patch)


def plain_attention(q: Any, k: Any, v: Any, window: int) -> Any:
    """By the definition, one place at a time."""
    y = torch.zeros_like(v)
    for i in range(q.shape[1]):
        seen = slice(max(0, i - window + 1), i + 1)
        scores = torch.einsum("rhd,rjhd->rhj", q[:, i], k[:, seen]) / math.sqrt(q.shape[-1])
        y[:, i] = torch.einsum("rhj,rjhd->rhd", scores.softmax(-1), v[:, seen])
    return y


@pytest.mark.parametrize("kernel", ["attend_blocks", "attend_sdpa"])
@pytest.mark.parametrize("window", [1, 3, 8, 20])
def test_a_kernel_computes_attention_in_a_window(train: Any, kernel: str, window: int) -> None:
    train.BLOCK = 8  # so that 20 places take three
    q, k, v = torch.randn(3, 2, 20, 2, train.HEAD_DIM)
    assert torch.allclose(getattr(train, kernel)(q, k, v, window), plain_attention(q, k, v, window), atol=1e-5)


def test_the_gradient_of_a_norm_is_right(train: Any) -> None:
    x = torch.randn(4, 6, requires_grad=True)
    mine = torch.autograd.grad((train.norm(x) ** 3).sum(), x)[0]
    torchs = torch.autograd.grad((torch.nn.functional.rms_norm(x, (6,), eps=1e-6) ** 3).sum(), x)[0]
    assert torch.allclose(mine, torchs, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_orthogonalised_matrices_have_singular_values_near_one(train: Any, rows: int, columns: int, seed: int) -> None:
    torch.manual_seed(seed)
    sizes = torch.linalg.svdvals(train.orthogonalised(torch.randn(2, rows, columns)))
    kept = sizes[..., : max(1, min(rows, columns) // 2)]  # the smallest of a square matrix may stay near zero
    assert ((kept > 0.5) & (kept < 1.3)).all()


def test_adam_steps_as_torchs_own(train: Any) -> None:
    mine, theirs = (torch.linspace(-1, 1, 12).view(3, 4).requires_grad_() for _ in range(2))
    adam = train.Adam([mine], 0.01)
    other = torch.optim.Adam([theirs], 0.01, betas=(train.ADAM_BETA1, train.ADAM_BETA2), eps=1e-10)
    for step in range(1, 6):
        gradient = torch.sin(torch.arange(12.0).view(3, 4) * step)
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        with torch.no_grad():
            adam.step(1.0, step)
        other.step()
    assert torch.allclose(mine, theirs, atol=1e-6)


def test_a_batch_in_parts_has_the_gradients_of_the_whole(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = train.GPT().init_weights()
    torch.nn.init.normal_(model.blocks[0].mlp_out)
    batch = torch.randint(0, VOCAB, (8, 17))
    found = []
    for tokens in (16, 48, 128):  # one, three and eight rows at once
        monkeypatch.setitem(train.PLAN, "tokens_at_once", tokens)
        loss = train.accumulate(model, batch)
        found.append([loss, *(weight.grad.clone() for weight in model.parameters() if weight.numel())])
        model.zero_grad()
    for other in found[1:]:
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found[0], other, strict=True))


def test_predictions_depend_on_earlier_tokens_alone_and_rows_may_be_longer(train: Any) -> None:
    model = train.GPT().init_weights()
    torch.nn.init.normal_(model.head)
    for block in model.blocks:
        torch.nn.init.normal_(block.attention_out)
    tokens = torch.randint(0, VOCAB, (2, 3 * train.SEQ_LEN + 5))
    other = tokens.clone()
    other[:, 30:] = (other[:, 30:] + 1) % VOCAB
    with torch.inference_mode():
        first, second = train.predict_rows(model, tokens), train.predict_rows(model, other)
    assert first.shape == (2, 3 * train.SEQ_LEN + 5, VOCAB)
    assert torch.equal(first[:, :30], second[:, :30])
    assert not torch.equal(first[:, 30:], second[:, 30:])


def test_the_model_has_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built and differentiated on the meta device: nothing in it names a device of its own."""
    train = module(tmp_path / "a", monkeypatch, {"dtype": "bfloat16", "attention": "sdpa"}, WINDOWS="SL", DEPTH=3)
    with torch.device("meta"):
        model = train.GPT()
        loss = model.mean_loss(torch.zeros(4, 17, dtype=torch.int64))
    loss.backward()
    assert loss.device.type == "meta"
    assert all(weight.grad is not None for weight in model.parameters() if weight.numel())
    with torch.no_grad():
        for muon in train.MuonAdam(model).muons:
            assert muon.mean.device.type == "meta"


@pytest.mark.filterwarnings("ignore")  # the compiler is full of warnings of its own
@pytest.mark.parametrize("attention", ["blocks", "sdpa"])
def test_the_hot_paths_are_whole_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attention: str) -> None:
    """One graph for all layers of a kind, without a break, forwards and backwards; code for a device is left out."""
    import torch._dynamo as dynamo

    train = module(tmp_path / "a", monkeypatch, {"attention": attention}, DEPTH=6, VALUE_EVERY=2)
    model, batch = train.GPT().init_weights(), torch.randint(0, VOCAB, (4, 17))
    expected = train.accumulate(model, batch)
    gradient = model.blocks[0].qkv.grad.clone()
    model.zero_grad()
    graphs: list[object] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return dynamo.lookup_backend("aot_eager")(graph, inputs)

    for name in train.HOT_PATHS:
        monkeypatch.setattr(
            train, name, torch.compile(getattr(train, name), backend=backend, fullgraph=True, dynamic=False)
        )
    assert torch.allclose(train.accumulate(model, batch), expected, atol=1e-5)
    assert torch.allclose(model.blocks[0].qkv.grad, gradient, atol=1e-5)
    assert len(graphs) == 3  # layers with value embeddings, layers without, the loss
    dynamo.reset()


def test_code_is_known_by_all_that_it_reaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(name: str, old: str = "", new: str = "", **constants: object) -> str:
        train = module(tmp_path / name, monkeypatch, None, **constants)
        if old:
            text = (tmp_path / name / "train.py").read_text()
            assert old in text
            (tmp_path / name / "train.py").write_text(text.replace(old, new))
            train = load(tmp_path / name, "train")
            monkeypatch.setitem(sys.modules, "train", train)
        return str(train.machine.kept_code(*train.hot_code()).name)

    same = key("a")
    assert key("b") == same
    assert key("c", MATRIX_LR=0.5, DEPTH=4, WIDTH_PER_LAYER=8) == same  # as wide, more layers
    assert key("e", "min(1.0, (1 - spent)", "min(2.0, (1 - spent)") == same
    assert key("f", SOFTCAP=20.0) != same
    assert key("g", WIDTH_PER_LAYER=32) != same
    assert key("h", "F.relu(product", "F.silu(product") != same
    assert key("i", "q * HEAD_DIM**-0.5", "q * 0.1") != same


def test_the_same_seed_gives_the_same_value_alone_or_beside_another(tmp_path: Path) -> None:
    told = study(tmp_path / "a")
    both = [
        start(tmp_path / "a", told | {"AUTORESEARCH_SEED": "3", "AUTORESEARCH_OUT": str(tmp_path / f"o{i}")})
        for i in range(2)
    ]
    first, second = (said(process) for process in both)
    third = said(start(tmp_path / "a", told | {"AUTORESEARCH_SEED": "3"}))
    other = said(start(tmp_path / "a", told | {"AUTORESEARCH_SEED": "4"}))
    assert first[0] == 0, first[2]
    assert "METRIC train_loss=" in first[1]
    assert first[1] == second[1] == third[1] != other[1]
    weights = [torch.load(tmp_path / f"o{i}" / "model.pt") for i in range(2)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("amount", "unit", "tokens"),
    [("1281", "tokens", 1280), ("10", "steps", 1280), ("0.2", "seconds", None), ("2e8", "flops", None)],
)
def test_a_budget_is_spent_and_not_overdrawn(tmp_path: Path, amount: str, unit: str, tokens: int | None) -> None:
    told = study(tmp_path / "a") | {"AUTORESEARCH_BUDGET": amount, "AUTORESEARCH_BUDGET_UNIT": unit}
    code, out, err = said(start(tmp_path / "a", told))
    assert code == 0, err
    stated = dict(line.removeprefix("METRIC ").split("=") for line in out.splitlines() if line.startswith("METRIC"))
    assert int(stated["tokens"]) == tokens or (tokens is None and int(stated["tokens"]) >= 128)
    assert "PROGRESS 0." in out


def test_less_than_a_step_is_a_sentence(tmp_path: Path) -> None:
    code, _, err = said(start(tmp_path / "a", study(tmp_path / "a") | {"AUTORESEARCH_BUDGET": "100"}))
    assert (code, err.strip()) == (1, "train.py: the budget of 100 tokens is less than one step (128)")


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    code, out, err = said(start(tmp_path / "a", study(tmp_path / "a", EMBEDDING_STD=1e39)))
    assert (code, "the loss is nan" in err) == (1, True), err
    assert "METRIC" not in out


def test_a_plan_is_measured_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real probes, and train.py's own speed; a budget so short is not worth a compilation."""
    told = study(tmp_path / "a")
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(tmp_path / "a"))
    plan = load(tmp_path / "a", "plan")
    made = plan.make_plan(tmp_path / "a" / "data")
    assert made == json.loads((tmp_path / "a" / "data" / "plan.json").read_text())
    assert made["dtype"] in {"float32", "bfloat16"}
    assert made["attention"] in {"blocks", "sdpa"}
    assert made["tokens_at_once"] == 2048
    assert made["tokens_per_s"] > 0
    assert made["compile"] is None
    assert "not compiled" in plan.in_words(made)


def test_a_start_that_does_not_run_is_said_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in study(tmp_path / "a").items():
        monkeypatch.setenv(name, value)
    (tmp_path / "a" / "train.py").write_text("raise SystemExit('no such luck')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "a"))
    plan = load(tmp_path / "a", "plan")
    with pytest.raises(plan.Unmet, match=r"`train.py speed` failed here \(exit 1\)\n  \| no such luck"):
        plan.ask_train(tmp_path / "a" / "data", PLAN, "speed")


def test_what_does_not_fit_into_memory_is_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in study(tmp_path / "a").items():
        monkeypatch.setenv(name, value)
    (tmp_path / "a" / "train.py").write_text(
        "from machine import PLAN\n"
        "if PLAN['tokens_at_once'] > 256: raise SystemExit('torch.OutOfMemoryError: CUDA out of memory.')\n"
        'print(\'{"start_s": 1, "tokens_per_s": 2}\')\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path / "a"))
    plan, made = load(tmp_path / "a", "plan"), PLAN | {"tokens_at_once": 1024}
    assert plan.first_speed(tmp_path / "a" / "data", made) == {"start_s": 1, "tokens_per_s": 2}
    assert made["tokens_at_once"] == 256


@pytest.mark.filterwarnings("ignore")  # the tracer is full of warnings of its own
def test_attention_on_a_card_in_a_window_is_one_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As traced on the meta device, which has no values: no test here sees that they are right."""
    from torch.fx.experimental.proxy_tensor import make_fx

    train = module(tmp_path / "a", monkeypatch, {"attention": "flash2", "dtype": "bfloat16"}, WINDOWS="SL", DEPTH=3)
    with torch.device("meta"):
        traced = make_fx(train.GPT())(torch.zeros(4, 16, dtype=torch.int64)).code
    assert traced.count("torch.ops.torch_attn._varlen_attn.default(") == train.LETTERS.count("S") == 1


def test_the_training_script_can_be_read_in_one_sitting() -> None:
    assert len((TEMPLATE / "train.py").read_text().splitlines()) <= 650
