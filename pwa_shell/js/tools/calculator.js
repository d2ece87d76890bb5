/** Arithmetic, read by a small parser: nothing is evaluated as code. */

const MAX_LENGTH = 2000;
const MAX_DEPTH = 100;
const CONSTANTS = { pi: Math.PI, e: Math.E, tau: 2 * Math.PI };
const FUNCTIONS = {
  sqrt: Math.sqrt, cbrt: Math.cbrt, abs: Math.abs, exp: Math.exp, ln: Math.log, log: Math.log10,
  log2: Math.log2, sin: Math.sin, cos: Math.cos, tan: Math.tan, asin: Math.asin, acos: Math.acos,
  atan: Math.atan, floor: Math.floor, ceil: Math.ceil, round: Math.round, min: Math.min,
  max: Math.max, hypot: Math.hypot, pow: (a, b) => a ** b, mod: (a, b) => a - b * Math.floor(a / b),
};
const NUMBER = /(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?/.source;
const SIGN = /\*\*|[-+*/^%(),!×÷−·]/.source;
const TOKEN = new RegExp(`\\s*(?:(${NUMBER})|([A-Za-z_]\\w*)|(${SIGN}))`, "y");
const SAME = { "×": "*", "·": "*", "÷": "/", "−": "-", "**": "^" };

/** @param {string} text @returns {(number|{name: string}|string)[]} */
function tokens(text) {
  const found = [];
  TOKEN.lastIndex = 0;
  while (text.slice(TOKEN.lastIndex).trim()) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (!match) throw new RangeError(`cannot read "${text.slice(at, at + 20).trim()}"`);
    const [, number, name, sign] = match;
    found.push(number ? Number(number) : name ? { name } : (SAME[sign] ?? sign));
  }
  return found;
}

class Parser {
  #at = 0;
  #depth = 0;

  constructor(list) {
    this.list = list;
  }

  takes(sign) {
    const same = this.list[this.#at] === sign;
    if (same) this.#at++;
    return same;
  }

  all() {
    const value = this.sum();
    if (this.#at < this.list.length) throw new RangeError("the expression goes on after its end");
    return value;
  }

  sum() {
    if (++this.#depth > MAX_DEPTH) throw new RangeError("too many brackets");
    let value = this.product();
    for (;;) {
      if (this.takes("+")) value += this.product();
      else if (this.takes("-")) value -= this.product();
      else break;
    }
    this.#depth--;
    return value;
  }

  product() {
    let value = this.signed();
    for (;;) {
      if (this.takes("*")) value *= this.signed();
      else if (this.takes("/")) value /= this.signed();
      else if (this.takes("%")) value = FUNCTIONS.mod(value, this.signed());
      else return value;
    }
  }

  signed() {
    let sign = 1;
    for (;;) {
      if (this.takes("-")) sign = -sign;
      else if (!this.takes("+")) break;
    }
    return sign * this.power();
  }

  /** Right to left: 2^3^2 is 2^9. */
  power() {
    const base = this.factorial();
    if (!this.takes("^")) return base;
    if (++this.#depth > MAX_DEPTH) throw new RangeError("too many powers");
    const value = base ** this.signed();
    this.#depth--;
    return value;
  }

  factorial() {
    let value = this.atom();
    while (this.takes("!")) {
      if (!Number.isInteger(value) || value < 0) throw new RangeError("! needs a whole number");
      let product = 1;
      for (let i = 2; i <= Math.min(value, 171); i++) product *= i;
      value = product;
    }
    return value;
  }

  atom() {
    const token = this.list[this.#at++];
    if (typeof token === "number") return token;
    if (token === "(") return this.#closed(this.sum());
    if (typeof token !== "object") {
      throw new RangeError(`a number is missing before "${token ?? "the end"}"`);
    }
    const { name } = token;
    if (Object.hasOwn(FUNCTIONS, name) && this.takes("(")) {
      const given = [this.sum()];
      while (this.takes(",")) given.push(this.sum());
      return this.#closed(FUNCTIONS[name](...given));
    }
    if (Object.hasOwn(CONSTANTS, name)) return CONSTANTS[name];
    throw new RangeError(`"${name}" is not known; there are ${Object.keys(FUNCTIONS).join(" ")}`);
  }

  #closed(value) {
    if (!this.takes(")")) throw new RangeError("a closing bracket is missing");
    return value;
  }
}

/** @param {string} expression @returns {number} Throws RangeError saying what cannot be read. */
export function calculate(expression) {
  if (typeof expression !== "string" || !expression.trim()) throw new RangeError("it is empty");
  if (expression.length > MAX_LENGTH) throw new RangeError("it is too long");
  const value = new Parser(tokens(expression)).all();
  if (!Number.isFinite(value)) throw new RangeError("the result is no finite number");
  return Number(value.toPrecision(15));
}
