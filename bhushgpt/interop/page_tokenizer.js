"use strict";
// Text to ids and back [03]; byte pairs [13]. Both pages read with it: the one that is alone with
// its model, and the one that is served.

const WORDS = // GPT-2's pieces, which no merge may cross
  /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

class Tokenizer {
  // kind: "characters", "bytes" or "bpe". tokens: each id's UTF-8 bytes, one character for a byte.
  // Those from `ordinary` on are special: no text makes them.
  constructor({ kind, tokens, ordinary }) {
    this.kind = kind;
    this.tokens = tokens;
    this.ids = new Map(tokens.slice(0, ordinary).map((token, id) => [token, id]));
  }

  // Characters that the tokenizer does not know are left out.
  encode(text) {
    const pieces = this.kind === "bpe" ? text.match(WORDS) ?? [] : [...text];
    return pieces.flatMap((piece) => {
      const bytes = Array.from(new TextEncoder().encode(piece), (n) => String.fromCharCode(n));
      if (this.kind === "characters") return this.ids.get(bytes.join("")) ?? [];
      return this.merge(bytes).map((token) => this.ids.get(token));
    });
  }

  // The pair that training merged first is merged first, until no two neighbours make a token.
  merge(parts) {
    for (;;) {
      let best = Infinity, at = 0;
      for (let i = 0; i + 1 < parts.length; i++) {
        const id = this.ids.get(parts[i] + parts[i + 1]) ?? Infinity;
        if (id < best) [best, at] = [id, i];
      }
      if (best === Infinity) return parts;
      parts.splice(at, 2, parts[at] + parts[at + 1]);
    }
  }

  // With `unfinished`, the bytes of a character that is not whole yet are left out at the end.
  decode(ids, unfinished = false) {
    const bytes = ids.map((id) => this.tokens[id]).join("");
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(
      Uint8Array.from(bytes, (character) => character.charCodeAt(0)), { stream: unfinished });
  }
}
