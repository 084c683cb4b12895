"""Worker processes: each takes the number of a shard, tokenises it, and says what it gave.

They are programs of their own (`python -m bhushgpt.preparation_workers FOLDER`), not copies of the
process that starts them. So they load neither torch nor the caller's script, which
`multiprocessing` would run once more on Windows and macOS, where it starts afresh; a script
without `if __name__ == "__main__":` would start workers that start workers. And they end with the
process that started them, however that ends: its end of the pipe closes.

Lesson: notebook 13.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from bhushgpt.errors import UserError
from bhushgpt.shard_tokens import Record

Answers = queue.SimpleQueue[tuple[int, dict[str, Any]]]


def work_with(workers: int, folder: Path, numbers: list[int]) -> Iterator[tuple[int, Record]]:
    """Tokenise shards in several processes; yield number and record of each as it is done.

    Args:
        workers: How many processes.
        folder: The output folder, with plan and tokenizer in it.
        numbers: The shards to do.

    Raises:
        UserError: If a worker says so, or ends without a word.

    Lesson: notebook 13.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in numbers:
        todo.put(number)
    answers: Answers = queue.SimpleQueue()
    processes = [_start(folder) for _ in range(workers)]
    threads = [
        threading.Thread(target=_feed, args=(process, todo, answers), daemon=True)
        for process in processes
    ]
    try:
        for thread in threads:
            thread.start()
        for _ in numbers:
            number, answer = answers.get()
            if "error" in answer:
                raise UserError(answer["error"])
            yield number, answer
    finally:  # also when the caller leaves the loop, or presses Ctrl-C
        for process in processes:
            process.kill()
        for process, thread in zip(processes, threads, strict=True):
            process.wait()
            if thread.ident is not None:
                thread.join()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    _close(pipe)


def _start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bhushgpt.preparation_workers", str(folder)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    # In a session of their own, so that Ctrl-C reaches the first process only, which decides.
    # Found also where the package is not installed and was found from the current folder.
    paths = [str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.Popen(
        command, **pipes, env=environment, text=True, encoding="utf-8", start_new_session=True
    )


def _feed(process: subprocess.Popen[str], todo: queue.SimpleQueue[int], answers: Answers) -> None:
    """Give one worker shard after shard, and pass on what it answers."""
    assert process.stdin is not None and process.stdout is not None
    while True:
        try:
            number = todo.get_nowait()
        except queue.Empty:
            return
        try:
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            line = process.stdout.readline()
            answer = json.loads(line)
        except (OSError, ValueError):  # it was killed: by us, or because the memory is full
            answer = {"error": _died(number)}
        answers.put((number, answer))
        if "error" in answer:
            return


def _died(number: int) -> str:
    return (
        f"The process that worked on shard {number} was ended from outside, perhaps because the "
        "memory is full. What is done is kept: run the same command again, with fewer --workers."
    )


def _close(pipe: IO[str]) -> None:
    try:
        pipe.close()
    except OSError:  # what was still to be written cannot be, its reader is gone
        pass


def main(folder: Path) -> None:
    """Be a worker: read numbers from stdin, write one line of JSON for each to stdout.

    Lesson: notebook 13.
    """
    # Loaded here, since the process that starts workers does not need them.
    from bhushgpt.document_encoding import DocumentEncoder
    from bhushgpt.preparation_plan import Plan
    from bhushgpt.prepared_tokens import TOKENIZER
    from bhushgpt.shard_tokens import tokenize_shard
    from bhushgpt.tokenizers import load_tokenizer

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows has no sessions
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin, numbers), daemon=True).start()
    plan, encoder = Plan.load(folder), DocumentEncoder(load_tokenizer(folder / TOKENIZER))
    while True:
        number = numbers.get()
        try:
            answer = tokenize_shard(folder, plan, encoder, number)
        except (UserError, OSError, MemoryError) as error:
            answer = {"error": f"{plan.shards[number].name}: {error or 'the memory is full'}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _listen(stream: IO[str], numbers: queue.SimpleQueue[int]) -> None:
    """Pass numbers on; when nobody is there any more to give them, end at once."""
    for line in stream:
        numbers.put(int(line))
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
