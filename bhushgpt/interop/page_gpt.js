"use strict";
// The course's GPT for one text at a time, with the names that it has in Python: ids go in, logits
// come out. Numbers in brackets name the notebook that teaches the idea.

// ---- Weights [10]: a matrix is int8 steps and a float32 scale for each row; a vector is float32.

// Returns weights.blocks[0].attention.qkv.weight and so on: the names of the model's parameters.
// First in the buffer are all vectors and scales, then the rows of all matrices.
function readWeights(parts, buffer) {
  const weights = {}, matrices = [];
  let at = 0;
  for (const [name, [length, columns]] of Object.entries(parts)) {
    const numbers = new Float32Array(buffer, at, length);
    at += 4 * length;
    const part = columns === undefined ? numbers : { columns, scales: numbers };
    if (part !== numbers) matrices.push(part);
    const path = name.split("."), last = path.pop();
    path.reduce((inside, key) => (inside[key] ??= {}), weights)[last] = part;
  }
  for (const matrix of matrices) {
    const { columns, scales } = matrix, n = scales.length;
    // As float32 they need not be converted in every product. Rows of zeros make it whole fours.
    matrix.steps = new Float32Array(4 * Math.ceil(n / 4) * columns);
    matrix.steps.set(new Int8Array(buffer, at, n * columns));
    at += n * columns;
  }
  return weights;
}

// A row of a table as numbers: the vector of a token or of a position [06].
function lookUp({ columns, scales, steps }, index) {
  const row = steps.subarray(index * columns, (index + 1) * columns);
  return row.map((step) => step * scales[index]);
}

// y = W x + b, four rows at a time: each x is read once for all four, and their sums do not wait
// for each other. What rows of zeros at the end give finds no place in y.
function linear({ weight: { columns, scales, steps }, bias }, x) {
  const n = scales.length, y = new Float32Array(n);
  for (let r = 0; r < n; r += 4) {
    const a = r * columns, b = a + columns, c = b + columns, d = c + columns;
    let ya = 0, yb = 0, yc = 0, yd = 0;
    for (let i = 0; i < columns; i++) {
      const xi = x[i];
      ya += steps[a + i] * xi;
      yb += steps[b + i] * xi;
      yc += steps[c + i] * xi;
      yd += steps[d + i] * xi;
    }
    y[r] = ya; y[r + 1] = yb; y[r + 2] = yc; y[r + 3] = yd;
  }
  for (let r = 0; r < n; r++) y[r] = y[r] * scales[r] + (bias ? bias[r] : 0);
  return y;
}

// ---- The parts of a block [08].

function add(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}

// LayerNorm: mean 0 and variance 1, then a learned scale and shift.
function norm({ weight, bias }, x) {
  const n = x.length, y = new Float32Array(n);
  let mean = 0, variance = 0;
  for (let i = 0; i < n; i++) mean += x[i] / n;
  for (let i = 0; i < n; i++) variance += (x[i] - mean) * (x[i] - mean) / n;
  const shrink = 1 / Math.sqrt(variance + 1e-5);
  for (let i = 0; i < n; i++) y[i] = (x[i] - mean) * shrink * weight[i] + bias[i];
  return y;
}

// GELU in the tanh form of GPT-2.
function gelu(x) {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));
}

function mlp(part, x) {
  const hidden = linear(part.widen, x);
  for (let i = 0; i < hidden.length; i++) hidden[i] = gelu(hidden[i]);
  return linear(part.projection, hidden);
}

// Scores become shares that sum to 1 [04]. The highest is taken off first: e^1000 is infinite.
function softmax(scores, temperature = 1) {
  const n = scores.length, shares = new Float64Array(n);
  let highest = -Infinity, sum = 0;
  for (let i = 0; i < n; i++) highest = Math.max(highest, scores[i]);
  for (let i = 0; i < n; i++) sum += shares[i] = Math.exp((scores[i] - highest) / temperature);
  for (let i = 0; i < n; i++) shares[i] /= sum;
  return shares;
}

// ---- The model [09].

class GPT {
  // config: vocab_size, context_length, n_layer, n_head, n_embd, position
  constructor(config, weights) {
    Object.assign(this, config);
    this.head_size = this.n_embd / this.n_head;
    this.weights = weights;
    this.blocks = Object.values(weights.blocks);
    this.head = weights.head ?? weights.tokens; // "tied": one table reads tokens and scores them
    this.stride = 1; // by how many tokens the window moves on when it is full
    this.seen = []; // the ids whose keys and values are in the cache [10]
    const room = this.context_length * this.n_embd;
    this.keys = this.blocks.map(() => new Float32Array(room));
    this.values = this.blocks.map(() => new Float32Array(room));
    // What the newest token's heads look at: looks[layer][head] has a share for each token.
    this.looks = this.blocks.map(() => []);
  }

  // The part of the text that the model sees. With a stride of 1 it is the last context_length ids,
  // as in Python. Then every token changes every position, so all is computed again each time; a
  // stride of half a context does that only once in so many tokens.
  visible(ids) {
    const over = Math.max(0, ids.length - this.context_length);
    return ids.slice(Math.ceil(over / this.stride) * this.stride);
  }

  // The logits of the token that follows the ids.
  forward(ids) {
    const window = this.visible(ids);
    // Keys and values stay right as far as the window begins with the ids of the call before [10].
    let t = 0;
    while (t < window.length - 1 && t < this.seen.length && window[t] === this.seen[t]) t++;
    for (; t < window.length - 1; t++) this.step(window[t], t, false);
    const x = this.step(window[t], t, true);
    this.seen = window;
    return linear(this.head, norm(this.weights.norm, x));
  }

  // The token at position t goes through all blocks, along a stream x of n_embd numbers.
  step(id, t, isNewest) {
    const x = lookUp(this.weights.tokens.weight, id);
    if (this.position !== "rotary") add(x, lookUp(this.weights.positions.weight, t));
    for (const [layer, block] of this.blocks.entries()) {
      const q = this.remember(layer, block, norm(block.norm_1, x), t);
      // Of an earlier token, the last block's key and value are all that is needed.
      if (!isNewest && layer === this.n_layer - 1) break;
      add(x, linear(block.attention.projection, this.attend(layer, q, t)));
      add(x, mlp(block.mlp, norm(block.norm_2, x)));
    }
    return x;
  }

  // Queries, keys and values of all heads in one product [07]; the cache keeps the last two [10].
  remember(layer, block, x, t) {
    const C = this.n_embd, qkv = linear(block.attention.qkv, x);
    const q = qkv.subarray(0, C), k = qkv.subarray(C, 2 * C), v = qkv.subarray(2 * C);
    if (this.position === "rotary") {
      this.turn(q, t);
      this.turn(k, t);
    }
    this.keys[layer].set(k, t * C);
    this.values[layer].set(v, t * C);
    return q;
  }

  // Rotary positions [07]: channels i and i + D/2 of a head are a pair, turned by an angle that
  // grows with the position t, so that q times k depends on the distance alone.
  turn(x, t) {
    const D = this.head_size;
    for (let i = 0; i < D / 2; i++) {
      const angle = t * 10000 ** ((-2 * i) / D);
      const cosine = Math.cos(angle), sine = Math.sin(angle);
      for (let h = i; h < x.length; h += D) {
        const first = x[h], second = x[h + D / 2];
        x[h] = first * cosine - second * sine;
        x[h + D / 2] = first * sine + second * cosine;
      }
    }
  }

  // softmax(q k^T / sqrt(D)) v in every head [07]. Nothing needs a mask: the cache has no future.
  attend(layer, q, t) {
    const C = this.n_embd, D = this.head_size, keys = this.keys[layer], values = this.values[layer];
    const mixed = new Float32Array(C);
    for (let head = 0; head < this.n_head; head++) {
      const start = head * D, scores = new Float64Array(t + 1);
      for (let s = 0; s <= t; s++) {
        let score = 0;
        for (let i = start; i < start + D; i++) score += q[i] * keys[s * C + i];
        scores[s] = score / Math.sqrt(D);
      }
      const shares = softmax(scores);
      for (let s = 0; s <= t; s++) {
        for (let i = start; i < start + D; i++) mixed[i] += shares[s] * values[s * C + i];
      }
      this.looks[layer][head] = shares;
    }
    return mixed;
  }
}

// ---- Choosing the next token [10].

// The probability of each id to be drawn: the temperature first, then top-k, top-p and min-p.
function probabilities(logits, { temperature, top_k, top_p, min_p }) {
  if (temperature === 0) { // greedy
    const best = logits.indexOf(Math.max(...logits));
    return Float64Array.from(logits, (_, id) => (id === best ? 1 : 0));
  }
  const all = softmax(logits, temperature);
  if (top_k >= all.length && top_p >= 1 && min_p <= 0) return all;
  const ranked = [...all.keys()].sort((a, b) => logits[b] - logits[a]).slice(0, top_k);
  const sum = ranked.reduce((before, id) => before + all[id], 0);
  const kept = new Float64Array(all.length);
  // An id stays if those ranked before it have not reached top_p, and it is min_p times as likely
  // as the first or more.
  let before = 0;
  for (const id of ranked) {
    if ((top_p < 1 && before >= top_p) || all[id] < min_p * all[ranked[0]]) break;
    kept[id] = all[id] / sum;
    before += kept[id];
  }
  return kept.map((p) => p / before);
}

// One id, each with its probability. `random` is a number from 0 to 1.
function draw(shares, random = Math.random()) {
  let last = 0;
  for (let id = 0; id < shares.length; id++) {
    if (shares[id] > 0) last = id;
    random -= shares[id];
    if (random < 0) break;
  }
  return last;
}
