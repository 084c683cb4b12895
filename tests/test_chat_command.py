"""`chat` over a pipe and at a terminal, and `serve`: what is typed, what comes, what stops it."""

import io
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time

import pytest

from bhushgpt.commands.chat import shown
from bhushgpt.commands.line import main
from bhushgpt.interop import Server
from tests.chains import CHAIN, chain_run

REPLY = CHAIN  # of one line, with its end


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return chain_run(tmp_path_factory.mktemp("chain") / "run")


@pytest.fixture
def chat(run, monkeypatch, capsys):
    """Return what a chat gives for lines that come over a pipe."""

    def typed(text, *flags):
        given = text if isinstance(text, bytes) else text.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
        flags = ["--temperature", "0", "--device", "cpu", *flags]
        status = main(["chat", "--run", str(run), *flags])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out, captured.err

    return typed


def test_lines_over_a_pipe_get_replies_and_nothing_else(chat):
    assert chat("hello\nand on\n") == (0, REPLY * 2, "")
    assert chat("no line end") == (0, REPLY, "")
    assert chat("") == (0, "", "")
    assert chat("\n\n") == (0, REPLY * 2, "")
    assert chat("a\n/exit\nb\n") == (0, REPLY, "")


@pytest.mark.parametrize(
    "line",
    ["é山🙂" * 5, "\0\x01\x1b[2J\x7f\x85\u2028", " ", "//exit", "\ufeff"],
    ids=["other scripts", "control", "blank", "slash", "mark"],
)
def test_odd_lines_get_a_reply(chat, line):
    assert chat(line + "\n") == (0, REPLY, "")


def test_a_line_longer_than_the_context_gets_a_sentence_and_a_reply(chat):
    note = "(The line has 10,000 tokens; the model sees the last 64.)\n"
    assert chat("x" * 10_000 + "\n") == (0, REPLY, note)
    assert chat("x" * 64 + "\n") == (0, REPLY, "")


def test_bytes_that_are_no_text_get_a_reply(chat):
    status, out, _ = chat(b"\xff\xfe\xc3\n\x80\n")
    assert (status, out) == (0, REPLY * 2)


def test_commands_do_what_they_say(chat, tmp_path):
    file = tmp_path / "talk.txt"
    status, out, err = chat(f"one\n/reset\ntwo\n/temperature 0.0\n/save {file}\n")
    assert (status, out, err) == (0, REPLY * 2, "")
    assert file.read_text("utf-8") == "two\n" + REPLY
    told = chat("/help\n")[1]
    assert "/temperature X" in told and "(an empty line)" in told


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/rest", "There is no command /rest. Did you mean '/reset'?"),
        ("/temperature warm", "'warm' is not a number"),
        ("/temperature -1", "temperature is -1.0: 0 is greedy"),
        ("/temperature nan", "temperature is nan"),
        ("/save", "Name the file, such as: /save talk.txt"),
        ("/save .", "exists already"),
        ("/save /dev/null/talk.txt", "cannot be written"),
        ("/\x1b[2J" + "y" * 500, "There is no command /␛[2J"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_the_chat_goes_on(chat, line, words):
    status, out, err = chat(f"{line}\nx\n")
    assert (status, out) == (0, REPLY)
    assert words in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tokens", "0"], "--tokens is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--min-p", "1.5"], "min_p is 1.5"),
        (["--run", "/nowhere"], "There is no checkpoint in /nowhere"),
    ],
)
def test_flags_that_mean_nothing_are_refused_before_the_first_line(chat, flags, words):
    status, out, err = chat("x\n", *flags)
    assert (status, out) == (1, "") and words in err


def test_a_model_cannot_steer_the_terminal():
    assert shown("\x1b]0;title\x07é\n\t\r\x9b2J\ud800") == "␛]0;title␇é\n\t␍\ufffd2J\ufffd"


@pytest.mark.skipif(os.name != "posix", reason="a terminal of its own needs POSIX")
def test_at_a_terminal_control_c_stops_a_reply_and_control_d_ends(run):
    import pty

    parent, child = pty.openpty()
    # Without an end of line in the reply it would write on for minutes.
    command = [sys.executable, "-m", "bhushgpt", "chat", "--run", str(run), "--tokens", "1000000"]
    process = subprocess.Popen(
        [*command, "--temperature", "1e9"],
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
        env={**os.environ, "TERM": "dumb"},
        preexec_fn=_own_terminal,
    )
    os.close(child)
    seen = ""

    def wait_for(pattern, typed=b""):
        nonlocal seen
        end = time.monotonic() + 120
        os.write(parent, typed)
        while not (found := re.search(pattern, seen, re.DOTALL)):
            assert time.monotonic() < end, seen[-500:]
            if select.select([parent], [], [], 3)[0]:
                seen += os.read(parent, 65_536).decode("utf-8", "replace")
            else:  # a terminal that is told Ctrl-C throws away what is unread, a prompt too
                os.write(parent, typed)
        seen = seen[found.end() :]

    try:
        wait_for(r"/help lists the commands\..*> ")
        os.write(parent, b"hello\n")
        wait_for(r"hello\r?\n.+")
        wait_for(r"\n> ", typed=b"\x03")
        wait_for(r"Ctrl-D, or /exit, ends.*> ", typed=b"\x03")
        os.write(parent, b"/temperature\n")
        # Ctrl-D is an end only where a prompt reads it: between two it would be lost.
        wait_for(r"The temperature is 1e\+09.*> ")
        os.write(parent, b"\x04")
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(parent)


def _own_terminal():
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C is a signal to whose terminal it is


# ---- `serve`, whose page tests/interop/test_server.py opens


@pytest.fixture
def serve(run, monkeypatch, capsys):
    """Return what the command says when Ctrl-C comes as soon as it serves."""

    def stopped(server):
        assert server.socket.fileno() >= 0
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", stopped)

    def typed(*flags):
        status = main(["serve", "--run", str(run), "--device", "cpu", *map(str, flags)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out.strip(), captured.err.strip()

    return typed


def test_serve_says_where_to_look_and_ends_with_control_c(serve, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    status, out, err = serve("--port", 0, "--open")
    assert (status, err) == (0, "")
    found = re.fullmatch(r"Open (http://127\.0\.0\.1:\d+) in a browser\. Ctrl-C ends it\.", out)
    assert found and opened == [found[1]]


def test_a_port_that_cannot_be_used_is_one_sentence(serve):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, out, err = serve("--port", port)
        assert (status, out) == (1, "") and f"Port {port} cannot be used" in err
        assert "\n" not in err
    status, out, err = serve("--port", 70_000)
    assert (status, out) == (1, "") and "The port is 70000: it is a number from 0 to 65535" in err
