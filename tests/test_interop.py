"""Weights go to transformers and back; a folder that does not fit is refused before it is read."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.errors import UserError
from bhushgpt.evaluation import evaluate
from bhushgpt.generation import Sampling, generate
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.interop import gpt2
from bhushgpt.interop.gpt2 import config_to_hf, from_hf, tensors_to_hf, to_hf
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer

pytestmark = pytest.mark.filterwarnings("ignore")  # what transformers warns of is not ours to mend

TOKENIZER = CharTokenizer("abcdefghijk")
# As many channels as tokens, so that a matrix that lies the wrong way round still fits.
SMALL = GPTConfig(vocab_size=11, context_length=24, n_layer=3, n_head=4, n_embd=32)
IDS = torch.arange(96).view(4, 24) * 7 % 11


def spread_out(model):
    """Give fresh weights the size of trained ones, so that a mistake shows in the logits."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def far_apart(ours, theirs) -> float:
    with torch.no_grad():
        return (ours(IDS) - theirs(IDS).logits).abs().max().item()


@pytest.fixture
def model():
    return spread_out(GPT(SMALL))


@pytest.fixture
def folder(model, tmp_path):
    return to_hf(model, TOKENIZER, tmp_path / "exported")


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers")


# There and back


def test_a_gpt_2_of_transformers_loads_into_ours_and_back(transformers, tmp_path):
    described = transformers.GPT2Config(
        vocab_size=11, n_positions=24, n_embd=32, n_layer=3, n_head=4
    )
    theirs = spread_out(transformers.GPT2LMHeadModel(described))
    theirs.save_pretrained(tmp_path / "theirs")
    ours = from_hf(tmp_path / "theirs").eval()
    assert far_apart(ours, theirs) < 1e-5
    to_hf(ours, TOKENIZER, tmp_path / "ours")
    again, found = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(found.values()), found
    assert type(again) is transformers.GPT2LMHeadModel
    assert far_apart(ours, again.eval()) < 1e-5
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_ours_comes_back_the_same_bit_for_bit(model, folder):
    back = from_hf(folder)
    assert back.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name
    assert back.head.weight is back.tokens.weight
    assert all(parameter.requires_grad for parameter in back.parameters())


def test_what_came_back_can_be_trained(folder):
    back = from_hf(folder)
    back(IDS).logsumexp(-1).sum().backward()
    torch.optim.SGD(back.parameters(), lr=0.1).step()
    assert back.head.weight is back.tokens.weight


def test_the_exported_folder_gives_the_same_greedy_tokens_in_transformers(
    transformers, model, folder
):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    prompt = torch.tensor([TOKENIZER.encode("abc")])
    read = tokenizer("abc", return_tensors="pt")  # with a mask that says that all of it counts
    assert read["input_ids"].tolist() == prompt.tolist()
    ours = list(generate(model, prompt, n_tokens=20, sampling=Sampling(temperature=0)))
    other = theirs.generate(**read, max_new_tokens=20, do_sample=False, pad_token_id=0)
    assert torch.cat(ours, dim=1).tolist() == other[:, 3:].tolist()


@pytest.mark.parametrize(
    "part", ["attention.projection", "attention.qkv", "mlp.widen", "mlp.projection"]
)
def test_a_matrix_that_is_not_transposed_is_caught(
    transformers, model, tmp_path, monkeypatch, part
):
    """The planted mistake. The square one loads without an error: only the logits tell."""
    real = gpt2.stored_tensors

    def mistaken(config):
        table = dict(real(config))
        for name, stored in table.items():
            if stored.ours == f"blocks.1.{part}.weight":
                table[name] = type(stored)(stored.ours, stored.shape, transposed=False)
        return table

    monkeypatch.setattr(gpt2, "stored_tensors", mistaken)
    folder = to_hf(model, TOKENIZER, tmp_path / "mistaken")
    if part == "attention.projection":
        theirs, found = transformers.AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True
        )
        assert not any(found.values())  # nothing is noticed ...
        assert far_apart(model, theirs.eval()) > 1e-2  # ... but by this
    else:
        monkeypatch.setattr(gpt2, "stored_tensors", real)
        with pytest.raises(UserError, match=r"but config\.json asks for"):
            from_hf(folder)


def test_evaluation_is_the_same_after_the_way_there_and_back(model, folder):
    tokens = np.arange(500) ** 2 % 11
    assert evaluate(model, tokens) == evaluate(from_hf(folder), tokens)


# What is in the folder


def test_the_folder_is_what_others_look_for(model, folder):
    described = json.loads((folder / "config.json").read_text())
    assert described["architectures"] == ["GPT2LMHeadModel"]
    assert described["n_positions"] == described["n_ctx"] == 24
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        names = set(file.keys())
    assert "lm_head.weight" not in names and "transformer.wte.weight" in names
    assert names == set(tensors_to_hf(model))
    assert oct(folder.stat().st_mode)[-3:] == "755"


def test_the_file_of_weights_has_no_number_twice(model, folder):
    size = (folder / "model.safetensors").stat().st_size
    assert model.parameter_count() * 4 <= size < model.parameter_count() * 4 + 10_000


# What cannot be exported


def test_the_tokenizer_of_another_model_is_refused(model, tmp_path):
    with pytest.raises(UserError, match="has 256 tokens and the model 11"):
        to_hf(model, ByteTokenizer(), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_a_place_in_the_layout_is_refused(tmp_path):
    with pytest.raises(UserError, match="it is a Bigram"):
        to_hf(Bigram(BigramConfig(vocab_size=11)), TOKENIZER, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(model, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty: it holds 'mine\.txt'"):
        to_hf(model, TOKENIZER, tmp_path)
    with pytest.raises(UserError, match="exists and is no folder"):
        to_hf(model, TOKENIZER, tmp_path / "mine.txt")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="exists and is no folder"):
        to_hf(model, TOKENIZER, tmp_path / "link")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link", "mine.txt"]


def test_an_empty_folder_may_be_filled(model, tmp_path):
    assert to_hf(model, TOKENIZER, tmp_path / "a" / "b") == tmp_path / "a" / "b"
    (tmp_path / "empty").mkdir()
    to_hf(model, TOKENIZER, tmp_path / "empty")
    assert (tmp_path / "empty" / "model.safetensors").is_file()


def test_a_failed_export_leaves_nothing(model, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gpt2, "save_file", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        to_hf(model, TOKENIZER, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


# What cannot be read


def rewritten(folder, **changes):
    """Save the weights anew after a change: a tensor, or None to take one away."""
    weights = load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        weights[name] = tensor
    weights = {name: tensor for name, tensor in weights.items() if tensor is not None}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_changed_shape_is_refused_before_anything_is_built(folder, monkeypatch):
    rewritten(folder, **{"transformer.h.1.ln_1.bias": torch.zeros(31)})
    monkeypatch.setattr(gpt2, "GPT", None)  # building would fail
    with pytest.raises(UserError, match=r"h\.1\.ln_1\.bias is \(31,\), but .* asks for \(32,\)"):
        from_hf(folder)


def test_a_missing_and_an_additional_tensor_are_refused(folder):
    rewritten(folder, **{"transformer.h.1.ln_1.bias": None})
    with pytest.raises(UserError, match="holds 39 tensors, but a GPT-2 of 3 blocks has 40"):
        from_hf(folder)
    rewritten(folder, **{"transformer.h.1.adapter": torch.zeros(32)})
    with pytest.raises(UserError, match=r"lacks h\.1\.ln_1\.bias"):
        from_hf(folder)


def test_numbers_of_another_type_are_refused(folder):
    rewritten(folder, **{"transformer.h.1.ln_1.bias": torch.zeros(32, dtype=torch.int8)})
    with pytest.raises(UserError, match=r"numbers of type I8; readable are F32, F16, BF16"):
        from_hf(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_16_bits_become_float32(model, folder, dtype):
    weights = load_file(folder / "model.safetensors")
    halves = {name: tensor.to(dtype) for name, tensor in weights.items()}
    save_file(halves, folder / "model.safetensors")
    back = from_hf(folder)
    assert {parameter.dtype for parameter in back.parameters()} == {torch.float32}
    assert torch.equal(back.tokens.weight, model.tokens.weight.to(dtype).float())


def test_names_without_prefix_and_old_masks_are_read_as_the_hub_has_them(model, folder):
    weights = load_file(folder / "model.safetensors")
    plain = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    for block in range(3):
        plain[f"h.{block}.attn.bias"] = torch.ones(1, 1, 24, 24).tril()
        plain[f"h.{block}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(plain, folder / "model.safetensors")
    assert torch.equal(from_hf(folder)(IDS), model(IDS))


def test_a_head_of_its_own_is_refused_and_a_copy_of_the_table_is_not(model, folder):
    table = model.tokens.weight.detach().clone()
    rewritten(folder, **{"lm_head.weight": table})
    assert torch.equal(from_hf(folder)(IDS), model(IDS))
    rewritten(folder, **{"lm_head.weight": table + 1})
    with pytest.raises(UserError, match="has a head of its own"):
        from_hf(folder)


def test_several_files_with_an_index_are_read(model, folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    places = {}
    for number, part in enumerate((names[:20], names[20:]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, folder / file)
        places |= dict.fromkeys(part, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert torch.equal(from_hf(folder)(IDS), model(IDS))
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match="There is no file model-00002-of-00002"):
        from_hf(folder)
    for bad in ("../model.safetensors", "/etc/x.safetensors", "model.bin", 3):
        index.write_text(json.dumps({"weight_map": {"a": bad}}))
        with pytest.raises(UserError, match="which is no file beside it"):
            from_hf(folder)
    for text in ("[]", "{", '{"weight_map": 3}', "{}"):
        index.write_text(text)
        with pytest.raises(UserError, match="it lists no files"):
            from_hf(folder)


def test_an_absurd_size_is_refused_without_filling_the_memory(folder):
    described = config_to_hf(SMALL, None)
    for size in ("n_layer", "n_positions", "vocab_size", "n_embd"):
        changed = described | {size: 4 * 10**12}
        (folder / "config.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match="do not belong together"):
            from_hf(folder)


def test_a_pickle_is_not_read(folder):
    shutil.move(folder / "model.safetensors", folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"holds no model\.safetensors.*a pickle can run code"):
        from_hf(folder)


def test_a_pickle_under_the_name_of_safetensors_is_not_read(folder, tmp_path):
    canary = tmp_path / "canary"

    class Exploit:
        def __reduce__(self):
            return os.mkdir, (str(canary),)

    torch.save(Exploit(), folder / "model.safetensors")
    with pytest.raises(UserError, match="damaged or no safetensors file"):
        from_hf(folder)
    assert not canary.exists()


@pytest.mark.parametrize("cut", [0, 7, 8, 100, 5000, -1])
def test_a_truncated_file_is_refused(folder, cut):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(UserError, match="damaged or no safetensors file"):
        from_hf(folder)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 100_000, " " * 2_000_000])
def test_a_config_that_is_no_object_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json in .* is damaged"):
        from_hf(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder):
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(UserError, match=r"holds no model\.safetensors"):
        from_hf(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="There is no folder"):
        from_hf(tmp_path / "nowhere")
