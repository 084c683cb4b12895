"""The command line: a table of commands, each loaded when it is typed.

Each command is a frozen dataclass: its fields are the flags, the text under a field is its help,
and `run` calls the same functions that the notebooks call.

Opened by notebook 17. To be read in this order: flags, line, information, model, progress, prepare,
train, run_checks, doctor, bench, chat, serve, leaderboard; with notebook 18 finetune, with 19
compress.
"""

# name: (module of this folder and class, what the list says of it)
COMMANDS = {
    "demo": ("train:Demo", "train GPT-v1 on Sherlock Holmes, in minutes, and see it write"),
    "train": ("train:Train", "train a model on a text; Ctrl-C saves and stops, --resume goes on"),
    "finetune": ("finetune:Finetune", "go on with a trained model on a second text"),
    "complete": ("model:Complete", "continue a prompt with a trained model"),
    "chat": ("chat:Chat", "write in turns with a trained model"),
    "serve": ("serve:Serve", "show a page on this machine that writes with a trained model"),
    "evaluate": ("model:Evaluate", "measure a trained model on its held-out text"),
    "export": ("model:Export", "write a trained model as a folder that other programs open"),
    "import": ("model:Import", "make a run of a GPT-2 that another program wrote"),
    "prepare": ("prepare:Prepare", "tokenise a corpus once, into files that training reads"),
    "compress": ("compress:Compress", "write a file in fewer bytes, by what a model expects"),
    "decompress": ("compress:Decompress", "give back exactly what was compressed"),
    "leaderboard": ("leaderboard:Leaderboard", "list records, enter runs, train an entry anew"),
    "corpora": ("information:Corpora", "list the texts that can be named: title, source, licence"),
    "progress": ("progress:Progress", "show which exercises you have solved, and what is next"),
    "info": ("information:Info", "say what this machine is: devices, memory, versions"),
    "bench": ("bench:Bench", "measure this machine, and the course's speed on it"),
    "doctor": ("doctor:Doctor", "check this machine, or a run, and say what to do"),
}
# These run where PyTorch is missing or does not load; `doctor` above all, to say so.
WITHOUT_TORCH = ("prepare", "corpora", "doctor", "progress")
