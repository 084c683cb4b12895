"use strict";
// The page that is alone: the model is in it. page_served.js is the same for a page with a server.

const content = JSON.parse(document.getElementById("content").textContent);
const tokenizer = new Tokenizer(content.tokenizer);
const gpt = (() => {
  const text = atob(document.getElementById("weights").textContent);
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  return new GPT(content.config, readWeights(content.parts, bytes.buffer));
})();

const model = {
  // What may come next, and what the newest token looks at: in one head, or in all of the layer on
  // average. bars: the likeliest ids, with their probability before and after the settings.
  async look(ids, settings, { bars, layer, head }) {
    const logits = gpt.forward(ids);
    const plain = softmax(logits), shares = probabilities(logits, settings);
    const likeliest = [...plain.keys()].sort((a, b) => plain[b] - plain[a]).slice(0, bars);
    const heads = head === null ? gpt.looks[layer] : [gpt.looks[layer][head]];
    return {
      bars: likeliest.map((id) => [id, plain[id], shares[id]]),
      seen: gpt.seen,
      looks: Array.from(heads[0], (_, s) => heads.reduce((sum, one) => sum + one[s] / heads.length, 0)),
    };
  },

  // New ids, one after the other, for as long as somebody asks for them.
  async *write(ids, settings, count) {
    const text = [...ids];
    for (; count > 0; count--) {
      text.push(draw(probabilities(gpt.forward(text), settings)));
      yield text.at(-1);
    }
  },

  set stride(stride) {
    gpt.stride = stride === "half" ? Math.ceil(gpt.context_length / 2) : 1;
  },
};
