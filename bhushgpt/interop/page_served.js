"use strict";
// The page that is served: Python computes (server.py). page_alone.js is the same without a server.

const content = JSON.parse(document.getElementById("content").textContent);
const tokenizer = new Tokenizer(content.tokenizer);

async function ask(path, request, signal) {
  const answer = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request), signal,
  }).catch((error) => {
    throw new Error(signal?.aborted ? "" : `The server does not answer (${error.message}). Is it still running?`);
  });
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

const model = {
  async look(ids, settings, { bars, layer, head }) {
    return (await ask("look", { ids, ...settings, bars, layer, head })).json();
  },

  // One line of JSON for each new token. Who asks for no more ends the request.
  async *write(ids, settings, count) {
    const stop = new AbortController();
    const seed = Math.floor(Math.random() * 2 ** 31);
    try {
      const answer = await ask("write", { ids, ...settings, n_tokens: count, seed }, stop.signal);
      let rest = "";
      for await (const text of read(answer.body.pipeThrough(new TextDecoderStream()))) {
        const lines = (rest + text).split("\n");
        rest = lines.pop();
        for (const line of lines.map((one) => JSON.parse(one))) {
          if (line.error) throw new Error(line.error);
          if (line.id !== undefined) yield line.id;
        }
      }
    } finally {
      stop.abort();
    }
  },
};

// A stream piece by piece; not every browser can do that by itself.
async function* read(stream) {
  const reader = stream.getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) yield piece.value;
}
