/**
 * Answers pyengine/decode/grammar.py's questions with XGrammar, the same in a worker (grammar_worker.js)
 * and in Node (app/grammar_host.mjs). XGrammar reports a refusal on the console and aborts; what it
 * said becomes the reply's `error`, and this host is at its end.
 */
import { rolled, withLookaheads } from "./grammar_lookahead.js";

const KEPT = 8; // compiled grammars, most recent last: a program asks with the same schema again and again
const SYMBOL = /"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|[^\s"[\]()|*+?{}=:,]+/g; // of EBNF: a text, a class, a name
const FATAL = /\[FATAL\] [^ ]*:\d+: ?(.*)/s;

const regexTag = (pattern) => JSON.stringify({ type: "structural_tag", format: { type: "regex", pattern } });

function textOf(grammar) {
  const ebnf = rolled(grammar.toString());
  grammar.dispose();
  return ebnf;
}

/** What a reader of calls could not take: numbers beyond any, half of an emoji; and strings may have a bracket behind them. */
const NARROWED = [
  [/\(\[eE\] (\w+) \w+\)/g, "([eE] $1 [0-9] [0-9]?)"],
  [/\("u" \[A-Fa-f0-9\] \[A-Fa-f0-9\]/g, '("u" ([0-9A-Ca-cE-Fe-f] [A-Fa-f0-9] | [Dd] [0-7])'],
  ["[,}\\]:]", "[,}\\]:)]"],
];

/** A schema's EBNF whose rules are called `name_...`. */
function renamed(ebnf, name) {
  const rules = new Set(Array.from(ebnf.matchAll(/^(\S+) ::=/gm), ([, rule]) => rule));
  return NARROWED.reduce((text, [from, to]) => text.replaceAll(from, to), ebnf)
    .replace(SYMBOL, (symbol) => (rules.has(symbol) ? `${name}_${symbol}` : symbol));
}

export class GrammarHost {
  #xgrammar;
  #compiler = null;
  #compiled = new Map(); // key -> CompiledGrammar
  #matchers = new Map();
  #numbers = 0;
  #said = "";
  #clearer;

  /** `clearer`: a grammar's text with more in it that says the same, or null (a test's: XGrammar's own masks). */
  constructor(xgrammar, clearer = withLookaheads) {
    this.#xgrammar = xgrammar;
    this.#clearer = clearer;
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

  async start({ kind, text, strict, rules, schemas }) {
    const key = JSON.stringify([kind, text, strict, rules, schemas]);
    const compiled = this.#compiled.get(key) ?? await this.#compile(kind, text, strict, rules, schemas);
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
  async #ofSchema(text, strict, rules) {
    let ebnf = textOf(await this.#xgrammar.Grammar.fromJSONSchema(text, false, -1, undefined, strict));
    for (const [name, rule] of Object.entries(rules)) {
      ebnf = `${ebnf.replaceAll(`"\\"${name}\\""`, name)}\n${name} ::= ${rule}\n`;
    }
    return ebnf;
  }

  /** A grammar with those of its schemas behind it, their rules' names begun by the schema's. */
  async #withSchemas(text, schemas) {
    const parts = [text];
    for (const { name, kind, text, rules } of schemas) {
      const one = kind === "regex" ? textOf(await this.#xgrammar.Grammar.fromStructuralTag(regexTag(text)))
        : await this.#ofSchema(text, true, rules);
      parts.push(renamed(one, name));
    }
    return parts.join("\n");
  }

  /** One line with ", " and ": ", as json.dumps writes: white space without end is no answer. */
  async #grammar(kind, text, strict, rules, schemas) {
    const { Grammar } = this.#xgrammar;
    if (kind === "rules") return Grammar.fromEBNF(await this.#withSchemas(text, schemas));
    if (Object.keys(rules).length) return Grammar.fromEBNF(await this.#ofSchema(text, strict, rules));
    if (kind === "json_schema") return Grammar.fromJSONSchema(text, false, -1, undefined, strict);
    if (kind === "json_object") return Grammar.fromJSONSchema('{"type":"object"}', false, -1, undefined, false);
    if (kind === "grammar") return Grammar.fromEBNF(text);
    return Grammar.fromStructuralTag(regexTag(text));
  }

  async #compile(...asked) {
    let grammar = await this.#grammar(...asked);
    const clearer = this.#clearer(rolled(grammar.toString()));
    if (clearer !== null) {
      grammar.dispose();
      grammar = await this.#xgrammar.Grammar.fromEBNF(clearer);
    }
    const compiled = await this.#compiler.compileGrammar(grammar);
    grammar.dispose();
    return compiled;
  }

  async #mask(matcher) {
    return new Uint8Array((await matcher.getNextTokenBitmask()).buffer);
  }

  async step({ matcher, token }) {
    const found = this.#matchers.get(matcher);
    if (!found.acceptToken(token)) return { accepted: false, empty: true, mask: new Uint8Array() };
    const mask = await this.#mask(found);
    return { accepted: true, empty: mask.every((byte) => byte === 0), mask };
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
