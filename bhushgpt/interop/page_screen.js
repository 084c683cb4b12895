"use strict";
// What one sees and does: the text, the next tokens as bars, and what the newest token looks at.

// Both pages share it; `model` and `tokenizer` are of page_alone.js or page_served.js.

const at = (id) => document.getElementById(id);
const { config } = content;

const BARS = 10; // tokens shown
let ids = []; // the text
let given = 0; // how many of the ids are the beginning that was typed
let heard = 0; // how many of the ids were read out
let found; // what the model says of the ids
let writing = false;
let moved = false; // a slider was, while writing
let turn = 0; // each thing that the reader does begins a new one, and ends what was going on

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
  const names = ["temperature", "top_k", "top_p", "min_p"];
  return Object.fromEntries(names.map((name) => [name, Number(at(name).value)]));
}

// ---- Writing

// Do what takes its time, from a text of its own on; what goes wrong is said in the page.
async function begin(work) {
  const mine = ++turn;
  at("trouble").textContent = "";
  try {
    await work(mine);
  } catch (error) {
    if (mine === turn) at("trouble").textContent = error.message;
  }
  if (mine === turn) settle();
}

// Ask the model about the text as it stands, and show it unless the reader went on meanwhile.
async function look(mine) {
  const head = at("head").value === "all" ? null : Number(at("head").value);
  const answer = await model.look(ids, settings(), { bars: BARS, layer: Number(at("layer").value), head });
  if (mine === turn) found = answer;
}

async function append(mine, id) {
  ids.push(id);
  await look(mine);
}

async function write(mine) {
  const count = Math.min(Math.max(Math.round(Number(at("length").value)) || 1, 1), 20000);
  const begun = performance.now(), pace = Number(at("pace").value);
  let written = 0, waited = 0, shown = begun, cost = 0;
  writing = true;
  show();
  while (written < count && mine === turn) {
    moved = false;
    const stream = model.write(ids, settings(), count - written);
    for (;;) {
      const asked = performance.now();
      const { value, done } = await stream.next();
      waited += performance.now() - asked;
      if (mine !== turn || done || moved) {
        stream.return();
        if (done && mine === turn) written = count;
        break;
      }
      ids.push(value);
      written++;
      // The screen has its turn every 30 ms, and more rarely where showing is the slower part.
      const early = () => written > (pace * (performance.now() - begun)) / 1000;
      if (early() || performance.now() - shown > Math.max(30, 4 * cost)) {
        const start = performance.now();
        await look(mine);
        at("speed").textContent = `${Math.round((1000 * written) / waited).toLocaleString("en")} tokens/s`;
        if (mine === turn) show();
        cost = performance.now() - start;
        do await new Promise(requestAnimationFrame); while (mine === turn && early());
        shown = performance.now();
      }
    }
  }
  if (mine === turn) await look(mine);
}

async function one(mine) {
  for await (const id of model.write(ids, settings(), 1)) {
    if (mine === turn) ids.push(id);
  }
  await look(mine);
}

// Stop, and read out what is new, once: a voice cannot follow tokens as they come.
function settle() {
  writing = false;
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
  begin(look);
}

// ---- Showing

function show() {
  at("write").textContent = writing ? "Stop" : "Write";
  at("back").disabled = ids.length === given;
  at("given").textContent = tokenizer.decode(ids.slice(0, given));
  at("written").textContent = tokenizer.decode(ids.slice(given), writing);
  if (writing) at("text").scrollTop = at("text").scrollHeight;
  for (const name of ["temperature", "top_p", "min_p"]) at(`${name}-value`).textContent = Number(at(name).value).toFixed(2);
  at("top_k-value").textContent = Number(at("top_k").value) === config.vocab_size ? "all" : at("top_k").value;
  if (!found) return;
  showBars();
  if (config.n_layer) showLook();
}

function showBars() {
  for (const [place, { firstChild: button }] of [...at("bars").children].entries()) {
    const [id, plain, share] = found.bars[place], [token, bar, number] = button.children;
    button.value = id;
    button.setAttribute("aria-label", `${spoken(id)}, ${percent(share)}: write it`);
    token.textContent = readable(id);
    bar.children[0].style.width = `${100 * share}%`;
    bar.children[1].style.width = `${100 * plain}%`;
    number.textContent = percent(share);
  }
}

// The shares of one head, or of all heads of the layer on average, behind the tokens they belong to.
function showLook() {
  const { seen, looks } = found, highest = Math.max(...looks);
  at("look").replaceChildren(...seen.map((id, s) => {
    const token = document.createElement("span");
    token.textContent = readable(id);
    token.title = percent(looks[s]);
    token.style.setProperty("--share", (0.75 * looks[s]) / highest);
    return token;
  }));
  const most = [...looks.keys()].sort((a, b) => looks[b] - looks[a]).slice(0, 3);
  const words = most.map((s) => {
    const back = looks.length - 1 - s;
    return `${spoken(seen[s])} (${back ? `${back} back` : "itself"}) ${percent(looks[s])}`;
  });
  at("look-words").textContent = `It looks most at ${words.join(", ")}.`;
}

// ---- The page comes alive

for (let place = 0; place < Math.min(BARS, config.vocab_size); place++) {
  const item = document.createElement("li");
  item.innerHTML = '<button type="button"><span class="token"></span><span class="bar"><i></i><i></i></span><span class="share"></span></button>';
  item.firstChild.addEventListener("click", () => begin((mine) => append(mine, Number(item.firstChild.value))));
  at("bars").append(item);
}
for (let layer = 0; layer < config.n_layer; layer++) at("layer").add(new Option(layer + 1, layer));
at("head").add(new Option("all, on average", "all"));
for (let head = 0; head < config.n_head; head++) at("head").add(new Option(head + 1, head));
at("layer").value = config.n_layer - 1;
at("top_k").max = at("top_k").value = config.vocab_size;
const sizes = [`${content.parameters.toLocaleString("en")} parameters`];
if (config.n_layer) sizes.push(`${config.n_layer} layers`, `${config.n_head} heads`);
at("about").prepend(`${sizes.join(", ")}, a context of ${config.context_length} tokens. `);
at("prompt").value = content.prompt;

at("write").addEventListener("click", () => begin(writing ? look : write));
at("one").addEventListener("click", () => begin(one));
at("back").addEventListener("click", () => {
  ids.pop();
  begin(look);
});
at("again").addEventListener("click", restart);
at("prompt").addEventListener("input", restart);
at("stride").addEventListener("change", () => {
  model.stride = at("stride").value;
  begin(look);
});
if (!("stride" in model)) at("stride").parentElement.remove();
if (!config.n_layer) at("look-part").hidden = true;
for (const id of ["temperature", "top_k", "top_p", "min_p", "layer", "head"]) {
  at(id).addEventListener("input", () => {
    if (writing) moved = true;
    else begin(look);
  });
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && writing) begin(look);
});
restart();
