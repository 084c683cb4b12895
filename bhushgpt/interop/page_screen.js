"use strict";
// What one sees and does: the text, the next tokens as bars, and what the newest token looks at.

const at = (id) => document.getElementById(id);
const content = JSON.parse(at("content").textContent);
const { config } = content;
const bytes = Uint8Array.from(atob(at("weights").textContent), (c) => c.charCodeAt(0));
const model = new GPT(config, readWeights(content.parts, bytes.buffer));
const tokenizer = new Tokenizer(content.tokenizer);

const BARS = 10; // tokens shown
let ids = []; // the text
let given = 0; // how many of the ids are the beginning that was typed
let logits; // of what follows the ids
let left = 0; // tokens still to write; 0 when stopped
let heard = 0; // how many of the ids were read out
let begun = 0, written = 0, busy = 0; // when this writing began, its tokens, the model's seconds
let turn; // the next frame of the screen

// A token by itself, white space and what has no picture included.
function readable(id) {
  const text = tokenizer.decode([id]);
  if (text.includes("\ufffd")) {
    return [...tokenizer.tokens[id]].map((c) => c.charCodeAt(0).toString(16).padStart(2, "0")).join(" ");
  }
  const signs = { "\n": "⏎", "\t": "⇥", " ": "␣" };
  return text.replace(/[\p{C}\p{Z}]/gu, (c) => signs[c] ?? `U+${c.codePointAt(0).toString(16)}`);
}

// The same token in words, for whoever listens.
function spoken(id) {
  const words = { "⏎": "new line", "⇥": "tab", "␣": "space" };
  return words[readable(id)] ?? readable(id);
}

function percent(share) {
  return share > 0 && share < 0.001 ? "<0.1 %" : `${(100 * share).toFixed(1)} %`;
}

function settings() {
  const [temperature, top_k, top_p] = ["temperature", "top_k", "top_p"].map((id) => Number(at(id).value));
  return { temperature, top_k, top_p };
}

// ---- Writing

function compute() {
  const start = performance.now();
  logits = model.forward(ids);
  busy += (performance.now() - start) / 1000;
}

function append(id) {
  ids.push(id);
  compute();
}

function write() {
  begun = performance.now();
  [written, busy] = [0, 0];
  left = Math.min(Math.max(Math.round(Number(at("length").value)) || 1, 1), 20000);
  turn = requestAnimationFrame(frame);
  show();
}

// As many tokens as are due, for at most 30 ms: then the browser must have its turn.
function frame(now) {
  const until = performance.now() + 30, pace = Number(at("pace").value);
  while (left > 0 && performance.now() < until && written < (pace * (now - begun)) / 1000) {
    append(draw(probabilities(logits, settings())));
    written++;
    left--;
  }
  if (written) at("speed").textContent = `${Math.round(written / busy).toLocaleString("en")} tokens/s`;
  if (left === 0) return settle();
  turn = requestAnimationFrame(frame);
  show();
}

// Stop, and read out what is new, once: a voice cannot follow tokens as they come.
function settle() {
  left = 0;
  cancelAnimationFrame(turn);
  const fresh = ids.slice(Math.max(heard, ids.length - 300));
  at("announced").textContent = fresh.length === 1 ? spoken(fresh[0]) : tokenizer.decode(fresh);
  heard = ids.length;
  show();
}

// Take the beginning as it is typed now. Without one, start from a new line, as the course does.
function restart() {
  const text = at("prompt").value;
  const strange = [...new Set(text)].filter((c) => tokenizer.encode(c).length === 0);
  at("unknown").textContent = strange.length
    ? `This model never saw ${strange.slice(0, 8).join(" ")}${strange.length > 8 ? " …" : ""}: left out.` : "";
  ids = tokenizer.encode(text);
  if (ids.length === 0) ids = tokenizer.encode("\n");
  if (ids.length === 0) ids = [0];
  given = heard = ids.length;
  at("speed").textContent = "";
  compute();
  settle();
}

// ---- Showing

function show() {
  at("write").textContent = left ? "Stop" : "Write";
  at("back").disabled = ids.length === given;
  at("given").textContent = tokenizer.decode(ids.slice(0, given));
  at("written").textContent = tokenizer.decode(ids.slice(given));
  if (left) at("text").scrollTop = at("text").scrollHeight;
  for (const name of ["temperature", "top_p"]) at(`${name}-value`).textContent = Number(at(name).value).toFixed(2);
  at("top_k-value").textContent = Number(at("top_k").value) === config.vocab_size ? "all" : at("top_k").value;
  showBars();
  showLook();
}

function showBars() {
  const plain = softmax(logits), shares = probabilities(logits, settings());
  const likeliest = [...plain.keys()].sort((a, b) => plain[b] - plain[a]);
  for (const [place, { firstChild: button }] of [...at("bars").children].entries()) {
    const id = likeliest[place], [token, bar, share] = button.children;
    button.value = id;
    button.setAttribute("aria-label", `${spoken(id)}, ${percent(shares[id])}: write it`);
    token.textContent = readable(id);
    bar.children[0].style.width = `${100 * shares[id]}%`;
    bar.children[1].style.width = `${100 * plain[id]}%`;
    share.textContent = percent(shares[id]);
  }
}

// The shares of one head, or of all heads of the layer on average, behind the tokens they belong to.
function showLook() {
  const heads = model.looks[at("layer").value];
  const chosen = at("head").value === "all" ? heads : [heads[at("head").value]];
  const shares = chosen[0].map((_, s) => chosen.reduce((sum, head) => sum + head[s] / chosen.length, 0));
  const highest = Math.max(...shares);
  at("look").replaceChildren(...model.seen.map((id, s) => {
    const token = document.createElement("span");
    token.textContent = readable(id);
    token.title = percent(shares[s]);
    token.style.setProperty("--share", (0.75 * shares[s]) / highest);
    return token;
  }));
  const most = [...shares.keys()].sort((a, b) => shares[b] - shares[a]).slice(0, 3);
  const words = most.map((s) => {
    const back = shares.length - 1 - s;
    return `${spoken(model.seen[s])} (${back ? `${back} back` : "itself"}) ${percent(shares[s])}`;
  });
  at("look-words").textContent = `It looks most at ${words.join(", ")}.`;
}

// ---- The page comes alive

for (let place = 0; place < Math.min(BARS, config.vocab_size); place++) {
  const item = document.createElement("li");
  item.innerHTML = '<button type="button"><span class="token"></span><span class="bar"><i></i><i></i></span><span class="share"></span></button>';
  item.firstChild.addEventListener("click", () => {
    append(Number(item.firstChild.value));
    settle();
  });
  at("bars").append(item);
}
for (let layer = 0; layer < config.n_layer; layer++) at("layer").add(new Option(layer + 1, layer));
at("head").add(new Option("all, on average", "all"));
for (let head = 0; head < config.n_head; head++) at("head").add(new Option(head + 1, head));
at("layer").value = config.n_layer - 1;
at("top_k").max = at("top_k").value = config.vocab_size;
at("about").prepend(`${content.parameters.toLocaleString("en")} parameters, ${config.n_layer} layers, ${config.n_head} heads, a context of ${config.context_length} tokens. `);
at("prompt").value = content.prompt;

at("write").addEventListener("click", () => (left ? settle() : write()));
at("one").addEventListener("click", () => {
  append(draw(probabilities(logits, settings())));
  settle();
});
at("back").addEventListener("click", () => {
  ids.pop();
  compute();
  settle();
});
at("again").addEventListener("click", restart);
at("prompt").addEventListener("input", restart);
at("stride").addEventListener("change", () => {
  model.stride = at("stride").value === "half" ? Math.ceil(config.context_length / 2) : 1;
  compute();
  show();
});
for (const id of ["temperature", "top_k", "top_p", "layer", "head"]) at(id).addEventListener("input", show);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && left) settle();
});
restart();
