// Evaluates an expression with the GPT of a page, outside a browser.
// Usage: node page_in_node.js PAGE EXPRESSION < data.json; `data`, `content`, `model` and
// `tokenizer` are there for the expression, and its value is printed as JSON.
"use strict";
const fs = require("fs");
const vm = require("vm");

const page = fs.readFileSync(process.argv[2], "utf-8");
const script = (opening) => page.split(opening)[1].split("</script>")[0];
const plainScripts = page.split("<script>").slice(1).map((rest) => rest.split("</script>")[0]);
globalThis.data = JSON.parse(fs.readFileSync(0, "utf-8"));
globalThis.content = JSON.parse(script('<script type="application/json" id="content">'));
const weights = atob(script('<script type="text/plain" id="weights">'));
globalThis.buffer = Uint8Array.from(weights, (character) => character.charCodeAt(0)).buffer;
for (const code of plainScripts.slice(0, 2)) vm.runInThisContext(code); // tokenizer and GPT
vm.runInThisContext(`
  const newModel = () => new GPT(content.config, readWeights(content.parts, buffer));
  const model = newModel(), tokenizer = new Tokenizer(content.tokenizer);
  const greedy = { temperature: 0, top_k: Infinity, top_p: 1, min_p: 0 };
`);
const value = vm.runInThisContext(process.argv[3]);
const plain = (key, item) => (ArrayBuffer.isView(item) ? Array.from(item) : item);
process.stdout.write(JSON.stringify(value, plain));
