/**
 * Answers pyengine/decode/grammar.py's questions with XGrammar, the same in a worker (grammar_worker.js)
 * and in Node (app/grammar_host.mjs). XGrammar reports a refusal on the console and aborts; what it
 * said becomes the reply's `error`, and this host is at its end.
 */
const KEPT = 8; // compiled grammars, most recent last: a program asks with the same schema again and again
const FATAL = /\[FATAL\] [^ ]*:\d+: ?(.*)/s;

export class GrammarHost {
  #xgrammar;
  #compiler = null;
  #compiled = new Map(); // key -> CompiledGrammar
  #matchers = new Map();
  #numbers = 0;
  #said = "";

  constructor(xgrammar) {
    this.#xgrammar = xgrammar;
    for (const name of ["log", "warn", "error"]) console[name] = (...words) => this.#hear(words.join(" "));
  }

  #hear(line) {
    const found = FATAL.exec(line);
    if (found) this.#said = found[1];
  }

  /** @returns {Promise<object>} the reply; its `mask` is a Uint8Array. Never rejects. */
  async answer({ op, ...question }) {
    this.#said = "";
    try {
      return await this[op](question);
    } catch (error) {
      return { error: (this.#said || error?.message || String(error)).trim().slice(0, 300) };
    }
  }

  async table({ tokens, stops }) {
    const info = await this.#xgrammar.TokenizerInfo.createTokenizerInfo(
      tokens, "byte_level", false, tokens.length, stops);
    this.#compiler = await this.#xgrammar.GrammarCompiler.createGrammarCompiler(info, false);
    return {};
  }

  async start({ kind, text, strict, rules }) {
    const key = JSON.stringify([kind, text, strict, rules]);
    const compiled = this.#compiled.get(key) ?? await this.#compile(kind, text, strict, rules);
    this.#compiled.delete(key);
    this.#compiled.set(key, compiled);
    for (const [oldest, one] of this.#compiled) {
      if (this.#compiled.size <= KEPT) break;
      this.#compiled.delete(oldest);
      one.dispose();
    }
    const matcher = await this.#xgrammar.GrammarMatcher.createGrammarMatcher(compiled);
    this.#matchers.set(++this.#numbers, matcher);
    return { matcher: this.#numbers, mask: await this.#mask(matcher) };
  }

  /** A schema's grammar, in which constant texts give way to the rules of their name. */
  async #withRules(text, strict, rules) {
    const grammar = await this.#xgrammar.Grammar.fromJSONSchema(text, false, -1, undefined, strict);
    let ebnf = grammar.toString();
    grammar.dispose();
    for (const [name, rule] of Object.entries(rules)) {
      ebnf = `${ebnf.replaceAll(`"\\"${name}\\""`, name)}\n${name} ::= ${rule}\n`;
    }
    return this.#compiler.compileGrammar(ebnf);
  }

  /** One line with ", " and ": ", as json.dumps writes: white space without end is no answer. */
  #compile(kind, text, strict, rules) {
    if (Object.keys(rules).length) return this.#withRules(text, strict, rules);
    if (kind === "json_schema") return this.#compiler.compileJSONSchema(text, false, -1, undefined, strict);
    if (kind === "json_object") return this.#compiler.compileJSONSchema('{"type":"object"}', false, -1, undefined, false);
    if (kind === "grammar") return this.#compiler.compileGrammar(text);
    const format = { type: "regex", pattern: text };
    return this.#compiler.compileStructuralTag(JSON.stringify({ type: "structural_tag", format }));
  }

  async #mask(matcher) {
    return new Uint8Array((await matcher.getNextTokenBitmask()).buffer);
  }

  async step({ matcher, token }) {
    const found = this.#matchers.get(matcher);
    if (!found.acceptToken(token)) return { accepted: false, mask: new Uint8Array() };
    return { accepted: true, mask: await this.#mask(found) };
  }

  async rollback({ matcher, count }) {
    const found = this.#matchers.get(matcher);
    found.rollBack(count);
    return { mask: await this.#mask(found) };
  }

  async end({ matcher }) {
    this.#matchers.get(matcher).dispose();
    this.#matchers.delete(matcher);
    return {};
  }

  async live() {
    return { compiled: this.#compiled.size, matchers: this.#matchers.size };
  }
}
