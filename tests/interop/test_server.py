"""The served page: Python's own numbers, a sentence for whatever is sent, nothing for strangers."""

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, generate, sampling_logits
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.interop import Server
from bhushgpt.interop import server as module_of_server
from bhushgpt.language_model import LanguageModel
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer
from tests.chains import CHAIN, chain_model, chain_tokenizer

ALPHABET = CharTokenizer("\n abcdefghijklmnopqrstuvwxyz")
JSON = {"Content-Type": "application/json"}


def lively_gpt(**sizes: Any) -> GPT:
    torch.manual_seed(11)
    settings: dict[str, Any] = {"context_length": 16, "n_layer": 2, "n_head": 3, "n_embd": 12}
    model = GPT(GPTConfig(vocab_size=ALPHABET.vocab_size, **(settings | sizes)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


class running:
    """A server at work, for as long as the `with` lasts."""

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer, **settings: Any) -> None:
        self.server = Server(model, tokenizer, **settings)

    def __enter__(self) -> Server:
        wait = {"poll_interval": 0.01}
        threading.Thread(target=self.server.serve_forever, kwargs=wait, daemon=True).start()
        return self.server

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def model() -> GPT:
    return lively_gpt()


@pytest.fixture(scope="module")
def served(model) -> Iterator[Server]:
    with running(model, ALPHABET, title="<Mine>") as server:
        yield server


def ask(
    server: Server, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, str, dict[str, str]]:
    """Return status, text and headers of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    try:
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body)
        connection.request(method, path, sent, JSON if headers is None else headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


def write(server: Server, **request: Any) -> tuple[list[int], str]:
    status, text, _ = ask(server, "POST", "/write", request)
    assert status == 200, text
    lines = [json.loads(line) for line in text.splitlines()]
    return [line["id"] for line in lines if "id" in line], "".join(one["text"] for one in lines)


def test_written_tokens_are_those_of_generate(served, model):
    ids = ALPHABET.encode("the cat")
    settings = {"temperature": 0.9, "top_k": 9, "top_p": 0.95, "min_p": 0.01, "seed": 3}
    expected = [int(new) for new in generate(model, torch.tensor([ids]), 30, Sampling(**settings))]
    assert write(served, ids=ids, n_tokens=30, **settings)[0] == expected
    assert write(served, prompt="the cat", n_tokens=30, **settings) == (
        expected,
        ALPHABET.decode(expected),
    )


def test_bars_and_attention_are_the_models(served, model):
    ids = ALPHABET.encode("what does it look at")[:13]
    explicit = GPT(GPTConfig(**{**vars(model.config), "attention_form": "explicit"})).eval()
    explicit.load_state_dict(model.state_dict())
    seen: list[torch.Tensor] = []
    for block in explicit.blocks:
        weights = block.get_submodule("attention.weights")
        weights.register_forward_hook(lambda *call: seen.append(call[2][0, :, -1]))
    with torch.no_grad():
        logits = explicit(torch.tensor([ids]))[:, -1]
    settings = {"temperature": 0.7, "top_k": 4}
    chances = sampling_logits(logits, Sampling(**settings)).softmax(dim=-1)[0]

    for layer, head in ((0, 0), (1, 2), (1, None), (-1, None)):
        asked = {"ids": ids, "layer": layer, "head": head, "bars": 6, **settings}
        answer = json.loads(ask(served, "POST", "/look", asked)[1])
        heads = seen[layer]
        expected = heads.mean(dim=0) if head is None else heads[head]
        torch.testing.assert_close(torch.tensor(answer["looks"]), expected, atol=1e-5, rtol=1e-4)
        assert answer["seen"] == ids
        order, plain, shares = zip(*answer["bars"], strict=True)
        assert list(order) == logits[0].topk(6).indices.tolist()
        torch.testing.assert_close(torch.tensor(plain), logits.softmax(-1)[0][list(order)])
        torch.testing.assert_close(torch.tensor(shares), chances[list(order)])
        assert sum(share > 0 for share in shares) == 4


def test_a_text_beyond_the_context_shows_the_last_window(served, model):
    ids = (ALPHABET.encode("round and round it goes ") * 3)[:50]
    answer = json.loads(ask(served, "POST", "/look", {"ids": ids})[1])
    assert answer["seen"] == ids[-16:] and len(answer["looks"]) == 16


def test_whole_characters_are_streamed():
    tokenizer = chain_tokenizer()
    with running(chain_model(tokenizer), tokenizer) as server:
        request = {"prompt": "\n", "n_tokens": 14, "temperature": 0}
        lines = ask(server, "POST", "/write", request)[1].splitlines()
        texts = [json.loads(line)["text"] for line in lines]
        assert len(tokenizer.encode(CHAIN)) == 10
        assert texts[:10] == ["", "é", "", "山", "", "", "", "🙂", "!", "\n"]
        assert texts[10:] == ["", "é", "", "山"]
        request["n_tokens"] = 7
        assert write(server, **request)[1] == "é山\ufffd"


def test_models_without_attention_have_bars_alone():
    with running(Bigram(BigramConfig(vocab_size=256)), ByteTokenizer()) as server:
        answer = json.loads(ask(server, "POST", "/look", {"ids": [65], "layer": 7})[1])
        assert answer["looks"] == [] and len(answer["bars"]) == 10
        assert '"n_layer":0' in ask(server, "GET", "/")[1]


def test_the_page_is_the_exported_ones_but_for_the_model(served, model):
    status, page, headers = ask(served, "GET", "/")
    assert status == 200 and "<title>&lt;Mine&gt;</title>" in page
    assert "connect-src 'self'" in page and "page_alone" not in page.split("<script>")[0]
    assert "class GPT" not in page and "class Tokenizer" in page
    # The table of tokens is the head, too, and counted once.
    assert f'"parameters":{model.parameter_count()},' in page
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not any(name.startswith("Access-Control") for name in headers)


# ---- What is sent by mistake, or with bad intent


def hostile_requests() -> list[tuple[str, str, Any, dict[str, str]]]:
    """Return 200 requests that must not be done: method, path, body, headers."""
    chance = random.Random(7)
    here: dict[str, str] = JSON
    fields: list[tuple[str, Any]] = [
        ("temperature", -1),
        ("temperature", -1e308),
        ("temperature", "hot"),
        ("temperature", [0.8]),
        ("top_k", 0),
        ("top_k", -5),
        ("top_k", 2.5),
        ("top_k", True),
        ("top_p", 0),
        ("top_p", -0.1),
        ("top_p", 1.5),
        ("min_p", -0.5),
        ("min_p", 7),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", 10**40),
        ("n_tokens", -1),
        ("n_tokens", 20_001),
        ("n_tokens", 10**18),
        ("n_tokens", 10**400),
        ("n_tokens", 0.5),
        ("n_tokens", None),
        ("ids", [28]),
        ("ids", [-1]),
        ("ids", [10**30]),
        ("ids", [0.5]),
        ("ids", ["a"]),
        ("ids", "abc"),
        ("ids", {"a": 1}),
        ("ids", [[1, 2]]),
        ("prompt", 5),
        ("prompt", "山"),
        ("prompt", "a\0b"),
        ("__class__", "x"),
        ("path", "../../etc/passwd"),
    ]
    made: list[tuple[str, str, Any, dict[str, str]]] = [
        ("POST", "/write", {"n_tokens": 2, name: value}, here) for name, value in fields
    ]
    made += [
        ("POST", "/look", {"ids": [1], name: value}, here)
        for name, value in (
            ("layer", 9),
            ("layer", -9),
            ("head", 3),
            ("head", -1),
            ("head", "all"),
            ("bars", "many"),
            ("bars", 1e400),
            ("n_tokens", 4),
        )
    ]
    bodies = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"3",
        b'"x"',
        b"\0" * 50,
        b"[" * 50_000,
        b'{"ids":' * 20_000,
    ]
    bodies += [b'{"ids": [1], "ids"}', b'{"temperature": NaN}', b"\xff\xfe{}", b"\xef\xbb\xbf{}"]
    bodies += [chance.randbytes(chance.randrange(1, 300)) for _ in range(40)]
    made += [("POST", chance.choice(["/write", "/look"]), body, here) for body in bodies]
    paths = ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//evil.example/", "/index.html"]
    paths += ["/page.css", "/\\..\\..\\", "/write/", "/.git/config", "/" + "a" * 5000, "*"]
    paths += ["/" + "".join(chance.choices("./%~\\;:@&=+$,", k=20)) for _ in range(20)]
    made += [("GET", path, None, {}) for path in paths]
    made += [("POST", path, {"ids": [1]}, here) for path in paths[:12]]
    made += [(method, "/", None, {}) for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "BREW")]
    made += [("HEAD", "/", None, {})]
    foreign = ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", "file://"]
    made += [("POST", "/write", {"ids": [1]}, {**here, "Origin": one}) for one in foreign]
    made += [("GET", "/", None, {"Origin": one}) for one in foreign]
    hosts = ["evil.example", "127.0.0.1", "localhost:1", "", "127.0.0.1.evil.example:80"]
    made += [("GET", "/", None, {"Host": one}) for one in hosts]
    made += [("POST", "/look", {"ids": [1]}, {**here, "Host": one}) for one in hosts]
    kinds = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
    made += [("POST", "/write", {"ids": [1]}, {"Content-Type": kind}) for kind in kinds]
    lengths = ["-1", "x", "1e3", "9" * 30, "1_0", "٣", " "]
    made += [
        ("POST", "/write", b"", {**here, "Content-Length": length.encode().decode("latin-1")})
        for length in lengths
    ]
    made += [("POST", "/write", b"x" * size, here) for size in (1_000_001, 10_000_000)]
    while len(made) < 200:
        name, value = chance.choice(fields)
        other, odd = chance.choice(fields)
        made.append(("POST", "/write", {name: value, other: odd, "n_tokens": -1}, here))
    return made


def test_two_hundred_hostile_requests_get_a_sentence_each_and_the_server_stays(served):
    requests = hostile_requests()
    assert len(requests) == 200
    for method, path, body, headers in requests:
        status, text, _ = ask(served, method, path, body, headers)
        what = f"{method} {path[:60]} {str(body)[:80]} {headers}: {status} {text[:300]}"
        assert 400 <= status < 500 or status == 501, what
        if method != "HEAD":
            assert 10 < len(text) < 400 and text.count("\n") == 1, what
            assert "Traceback" not in text and "<" not in text.replace("<|", ""), what
    assert write(served, prompt="the", n_tokens=3)[0]


def test_requests_that_are_no_http_end_and_the_server_stays(served, monkeypatch):
    patience = module_of_server._Handler.timeout
    assert (
        patience is not None and 1 <= patience <= 30
    )  # without any, a half-open connection would stay for ever
    monkeypatch.setattr(module_of_server._Handler, "timeout", 0.3)
    chance = random.Random(3)
    sent = [b"", b"\0" * 2000, b"\x16\x03\x01\x02\x00\x01", b"GET", b"GET / HTTP/9.9\r\n\r\n"]
    sent += [b"G" * 70_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"\r\n" * 50]
    sent += [b"POST /write HTTP/1.1\r\nHost: h\r\n", chance.randbytes(500)]
    half = f"POST /write HTTP/1.1\r\nHost: {served.hosts[0]}\r\nContent-Type: application/json\r\n"
    sent += [
        half.encode() + b"Content-Length: 500\r\n\r\n{",
        half.encode() + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    ]
    open_ones = []
    for piece in sent:
        connection = socket.create_connection(served.server_address[:2], timeout=30)
        open_ones.append(connection)
        try:
            connection.sendall(piece)
        except OSError:
            pass  # closed already
    for connection in open_ones:  # each is closed from the other side, half-open or not
        try:
            while connection.recv(65_536):
                pass
        except ConnectionError:
            pass
        connection.close()
    assert write(served, prompt="the", n_tokens=3)[0]


def test_more_connections_than_there_is_room_for_do_not_shut_others_out_for_long(served):
    address = served.server_address[:2]
    many = [socket.create_connection(address, timeout=30) for _ in range(80)]
    for one in many:
        one.close()
    end = time.monotonic() + 60
    while True:
        try:
            assert write(served, prompt="the", n_tokens=3)[0]
            return
        except (ConnectionError, http.client.HTTPException):
            assert time.monotonic() < end


def test_who_hangs_up_stops_the_writing(served):
    request = json.dumps({"prompt": "a", "n_tokens": 20_000})
    others = set(threading.enumerate())  # earlier tests' half-open connections still wait
    connection = http.client.HTTPConnection("127.0.0.1", served.server_address[1], timeout=60)
    connection.request("POST", "/write", request, JSON)
    answer = connection.getresponse()
    assert json.loads(answer.readline())["text"]
    (thread,) = set(threading.enumerate()) - others
    answer.close()
    connection.close()
    thread.join(60)
    assert not thread.is_alive()


def test_two_readers_are_served_in_turns(served):
    first = http.client.HTTPConnection("127.0.0.1", served.server_address[1], timeout=60)
    first.request("POST", "/write", json.dumps({"prompt": "a", "n_tokens": 20_000}), JSON)
    answer = first.getresponse()
    answer.readline()
    assert len(write(served, prompt="b", n_tokens=5)[0]) == 5  # while the first is being written
    answer.close()
    first.close()


def test_spoilt_weights_are_told_in_the_stream():
    model = lively_gpt()
    with torch.no_grad():
        model.norm.weight[0] = torch.nan  # pyright: ignore[reportIndexIssue]
    with running(model, ALPHABET) as server:
        status, text, _ = ask(server, "POST", "/write", {"prompt": "a"})
        assert status == 200 and "weights were spoilt" in json.loads(text)["error"]
        assert ask(server, "POST", "/look", {"ids": [1]})[0] == 400


def test_only_this_machine_is_listened_to(served):
    assert served.server_address[0] == "127.0.0.1"
    for host in served.hosts:
        status, _, _ = ask(served, "GET", "/", headers={"Host": host, "Origin": f"http://{host}"})
        assert status == 200


def test_a_port_that_is_taken_or_none_is_one_sentence(served, model):
    port = served.server_address[1]
    with pytest.raises(UserError, match=rf"Port {port} cannot be used .*--port {port + 1}$"):
        Server(model, ALPHABET, port=port)
    for none in (-1, 65_536):
        with pytest.raises(UserError, match=f"The port is {none}: it is a number from 0 to 65535"):
            Server(model, ALPHABET, port=none)


def test_the_model_is_left_as_it_was(model):
    before = model.config.attention_form
    with running(model, ALPHABET) as server:
        ask(server, "POST", "/look", {"ids": [1, 2]})
        shared = {one.data_ptr() for one in server.model.parameters()}
    assert model.config.attention_form == before == "auto"
    assert model.blocks[0].get_submodule("attention").form == "auto"
    assert {one.data_ptr() for one in model.parameters()} == shared  # and no copy of the weights


# ---- In a browser


@pytest.fixture
def tab(browser, served) -> Iterator[Any]:
    """Open the served page; at the end, only its own server was asked, and nothing went wrong."""
    context = browser.new_context(viewport={"width": 400, "height": 800})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    asked, errors = [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: errors.append(message.text))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(served.address)
    yield opened
    context.close()
    assert [url for url in asked if not url.startswith((served.address, "data:"))] == []
    assert errors == []


def until(tab: Any, condition: str) -> None:
    """Wait for a condition; the page's own policy forbids the browser to do that by itself."""
    end = time.monotonic() + 60
    while not tab.evaluate(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def written(tab: Any) -> str:
    return tab.locator("#written").evaluate("node => node.textContent")


def press_write(tab: Any, n_tokens: int) -> str:
    tab.locator("#pace").select_option("as fast as it can")
    tab.locator("#length").fill(str(n_tokens))
    tab.locator("#write").click()
    tab.get_by_role("button", name="Write", exact=True).wait_for()
    return written(tab)


def greedy(model: GPT, text: str, n_tokens: int) -> str:
    ids = torch.tensor([ALPHABET.encode(text)])
    steps = generate(model, ids, n_tokens, Sampling(temperature=0))
    return ALPHABET.decode([int(new) for new in steps])


def test_sliders_change_the_text_and_a_bar_steers_it(tab, model):
    tab.locator("#prompt").fill("the cat")
    tab.locator("#temperature").fill("0")
    plain = press_write(tab, 40)
    assert plain == greedy(model, "the cat", 40)

    tab.locator("#again").click()
    tab.locator("#temperature").fill("2")
    assert press_write(tab, 40) != plain
    tab.locator("#again").click()
    tab.locator("#min_p").fill("1")  # the likeliest alone is left, at any temperature
    assert press_write(tab, 40) == plain

    tab.locator("#again").click()
    until(tab, "ids.length === 7 && !writing && found.seen.length === 7")
    third = tab.locator("#bars button").nth(2)
    token = ALPHABET.decode([int(third.evaluate("node => node.value"))])
    third.click()
    until(tab, "found.seen.length === 8")
    assert written(tab) == token != plain[0]
    assert press_write(tab, 20) == token + greedy(model, "the cat" + token, 20)
    assert tab.evaluate("document.documentElement.scrollWidth") == 400


def test_attention_and_bars_are_shown(tab):
    tab.locator("#prompt").fill("the cat")
    until(tab, "found.seen.length === 7")
    assert tab.locator("#look span").all_inner_texts() == list("the␣cat")
    before = tab.locator("#look-words").inner_text()
    tab.locator("#head").select_option("2")
    until(tab, f"document.getElementById('look-words').innerText !== {before!r}")
    shares = tab.locator("#bars .share").all_inner_texts()
    tab.locator("#top_k").fill("1")
    until(tab, "document.querySelector('#bars .share').textContent === '100.0 %'")
    assert shares[0] != "100.0 %" and tab.locator("#stride").count() == 0


def test_running_text_follows_a_moved_slider_and_stops(tab, served):
    tab.locator("#pace").select_option("slow")
    tab.locator("#length").fill("20000")
    tab.locator("#write").click()
    until(tab, "ids.length > given + 2")
    tab.locator("#temperature").fill("0")
    before = len(written(tab))
    until(tab, f"ids.length > given + {before} + 3")
    tab.keyboard.press("Escape")
    tab.get_by_role("button", name="Write", exact=True).wait_for()
    assert 5 < len(written(tab)) < 2000


def test_a_server_that_has_gone_is_said_in_the_page(browser, model):
    context = browser.new_context()
    opened = context.new_page()
    with running(model, ALPHABET) as server:
        opened.goto(server.address)
        until(opened, "found !== undefined")
    opened.locator("#one").click()
    opened.get_by_role("alert").get_by_text("does not answer").wait_for(timeout=30_000)
    context.close()


def test_another_page_cannot_use_the_server(browser, served, model):
    with running(model, ALPHABET) as other:  # another port is another origin
        context = browser.new_context(bypass_csp=True)
        opened = context.new_page()
        opened.goto(other.address)
        code = """async ([address, kind, mode]) => fetch(address + "/write", {
          method: "POST", headers: { "Content-Type": kind }, body: "{}", mode,
        }).then((answer) => answer.type + answer.status, () => "refused")"""
        asked = [served.address, "application/json", "cors"]
        assert opened.evaluate(code, asked) == "refused"
        asked = [served.address, "text/plain", "no-cors"]
        assert opened.evaluate(code, asked) in ("refused", "opaque0")  # nothing can be read of it
        context.close()
