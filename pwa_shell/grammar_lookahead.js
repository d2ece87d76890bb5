/**
 * Tells XGrammar what may stand behind a rule, where it does not find that out itself. A bounded string is a chain of rules, each at
 * the end of the one before; XGrammar then takes every token that reaches over a rule's end for possible, and tries each anew at each
 * mask, which takes milliseconds. A lookahead of one ASCII character, any that FOLLOW of the rule has, decides nearly all of them when
 * the grammar is compiled. It says nothing that the grammar does not: the masks stay the same.
 */
const ATOM = /\s*(\(=|[()|]|"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]\*?|\{\d+, ?\d+\}|[\w.-]+)/y;
const CHARACTER = /\\x([0-9a-fA-F]{1,2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\(.)|(.)/gsu;
const NAMED = { n: 10, r: 13, t: 9, 0: 0, a: 7, b: 8, f: 12, v: 11, e: 27 };
const UNZIPPED = 128; // of a longer repetition, as many copies stand apart in the text of a grammar
const UNZIPPED_RULE = /^(\S+_repeat_1\S*_inner\S*) ::= \(\((\S+)\{(\d+), (\d+)\}\)\)$/gm;
const BEYOND = 128; // in a set of characters: some that is not ASCII

/** Code points of what stands in quotes or brackets. */
function codes(text) {
  return Array.from(text.matchAll(CHARACTER), ([, x, u, U, escaped, plain]) => {
    const hex = x ?? u ?? U;
    if (hex) return parseInt(hex, 16);
    return NAMED[escaped] ?? (escaped ?? plain).codePointAt(0);
  });
}

/** What a class's text matches, as far as it is ASCII, and BEYOND. */
function classSet(text) {
  const negative = text.startsWith("[^"), inside = text.slice(negative ? 2 : 1, text.lastIndexOf("]"));
  const parts = inside.match(/(?:\\x[0-9a-fA-F]{1,2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\.|[^\\])/gsu) ?? [];
  const listed = new Set();
  for (let i = 0; i < parts.length; i++) {
    const [low] = codes(parts[i]);
    const ranged = parts[i + 1] === "-" && i + 2 < parts.length;
    const high = ranged ? codes(parts[i += 2])[0] : low;
    for (let c = low; c <= Math.min(high, BEYOND); c++) listed.add(c);
    if (high >= BEYOND) listed.add(BEYOND);
  }
  if (!negative) return listed;
  return new Set(Array.from({ length: BEYOND + 1 }, (_, c) => c).filter((c) => c === BEYOND || !listed.has(c)));
}

/** An element of a sequence: {rule} or {set, empty}; a repetition is `repeated`, and `empty` if it may be of none. */
function element(text) {
  if (text.startsWith('"')) {
    const [first] = codes(text.slice(1, -1));
    return { set: new Set(first === undefined ? [] : [Math.min(first, BEYOND)]), empty: first === undefined };
  }
  if (text.startsWith("[")) return { set: classSet(text), empty: text.endsWith("*") };
  return { rule: text };
}

/**
 * The rules of a grammar as XGrammar writes them: name ::= (choice | choice) (=lookahead), a choice being "" or (element element).
 * @returns {Map<string, {choices: object[][], ahead: boolean}> | null} null of a text that is written otherwise
 */
function parsed(ebnf) {
  if (ebnf.search(UNZIPPED_RULE) >= 0) return null; // see `rolled`
  const rules = new Map();
  for (const line of ebnf.split("\n").filter(Boolean)) {
    const [head, name] = /^(\S+) ::= \(/.exec(line) ?? [];
    if (!name) return null;
    const rule = { choices: [], ahead: false };
    let choice = [], depth = 1;
    ATOM.lastIndex = head.length;
    while (ATOM.lastIndex < line.length) {
      const found = ATOM.exec(line);
      if (!found) return null;
      const [, text] = found;
      if (text === "(=") {
        rule.ahead = true;
        break;
      }
      if (text === "(") depth++;
      else if (text === "|" || text === ")" && --depth === 0) {
        rule.choices.push(choice);
        choice = [];
      } else if (text.startsWith("{")) {
        choice.at(-1).repeated = true;
        choice.at(-1).empty ||= text.startsWith("{0,");
      } else if (text !== ")") choice.push(element(text));
    }
    rules.set(name, rule);
  }
  return reached(rules);
}

/** Those of the rules that the root needs; null where one is missing. */
function reached(rules) {
  const found = new Map([["root", rules.get("root")]]);
  for (const [, rule] of found) { // which grows meanwhile
    if (!rule) return null;
    for (const { rule: name } of rule.choices.flat()) if (name) found.set(name, rules.get(name));
  }
  return found;
}

/** Adds to `set`; whether anything was new. */
function extend(set, more) {
  const before = set.size;
  for (const one of more) set.add(one);
  return set.size > before;
}

/** {first, empty} of a sequence. */
function beginning(sequence, firsts) {
  const first = new Set();
  for (const one of sequence) {
    const of = one.rule ? firsts.get(one.rule) : { first: one.set, empty: false };
    extend(first, of.first);
    if (!of.empty && !one.empty) return { first, empty: false };
  }
  return { first, empty: true };
}

/** name -> {first, empty} */
function firstSets(rules) {
  const firsts = new Map(Array.from(rules.keys(), (name) => [name, { first: new Set(), empty: false }]));
  for (let changed = true; changed;) {
    changed = false;
    for (const [name, { choices }] of rules) {
      const mine = firsts.get(name);
      for (const choice of choices) {
        const { first, empty } = beginning(choice, firsts);
        changed = extend(mine.first, first) || changed;
        if (empty && !mine.empty) changed = mine.empty = true;
      }
    }
  }
  return firsts;
}

/** name -> characters that may follow */
function followSets(rules, firsts) {
  const follows = new Map(Array.from(rules.keys(), (name) => [name, new Set()]));
  for (let changed = true; changed;) {
    changed = false;
    for (const [name, { choices }] of rules) {
      for (const choice of choices) {
        choice.forEach((one, i) => {
          if (!one.rule) return;
          const { first, empty } = beginning(choice.slice(i + 1), firsts), mine = follows.get(one.rule);
          changed = extend(mine, first) || changed;
          if (one.repeated) changed = extend(mine, firsts.get(one.rule).first) || changed;
          if (empty) changed = extend(mine, follows.get(name)) || changed;
        });
      }
    }
  }
  return follows;
}

/** Names of the rules that XGrammar finds no lookahead of: at the end of another rule, or in several places. */
function unclear(rules) {
  const found = new Set(), seen = new Set();
  for (const [name, { choices }] of rules) {
    for (const choice of choices) {
      choice.forEach((one, i) => {
        if (!one.rule) return;
        const last = i === choice.length - 1;
        if (last ? one.rule !== name : seen.has(one.rule)) found.add(one.rule);
        if (!last) seen.add(one.rule);
      });
    }
  }
  return [...found].filter((name) => name !== "root" && !rules.get(name).ahead);
}

/** @param {string} ebnf as `Grammar.toString` and `rolled` give it @returns {string | null} null where it could not be read */
export function withLookaheads(ebnf) {
  const rules = parsed(ebnf);
  if (!rules) return null;
  const follows = followSets(rules, firstSets(rules)), added = new Map();
  for (const name of unclear(rules)) {
    const set = follows.get(name);
    if (set.size && !set.has(BEYOND)) {
      const text = Array.from(set, (c) => `\\x${c.toString(16).padStart(2, "0")}`).join("");
      added.set(name, ` (=([${text}]))`);
    }
  }
  return ebnf.split("\n").map((line) => line + (added.get(line.slice(0, line.indexOf(" "))) ?? "")).join("\n");
}

/**
 * XGrammar writes x{128 + n, 128 + m} as a rule of x{n, m} with 128 times x behind it, and reading that text would unzip x{n, m} again:
 * masks of such a string took half a second. This puts the two together.
 */
export function rolled(ebnf) {
  let text = ebnf;
  for (const [line, inner, name, low, high] of ebnf.matchAll(UNZIPPED_RULE)) {
    const rule = text.split("\n").find((one) => one.startsWith(`${name} ::= `));
    const [, atom] = /::= \(\((\[(?:[^\]\\]|\\.)*\]|\w+)\)\) \(=/.exec(rule) ?? [];
    const whole = `${inner}${` ${atom}`.repeat(UNZIPPED)}`;
    if (!atom || text.split(whole).length !== 2) continue;
    text = text.replace(`${line}\n`, "").replace(`${rule}\n`, "")
      .replace(whole, () => `${atom}{${UNZIPPED + Number(low)}, ${UNZIPPED + Number(high)}}`);
  }
  return text;
}
