// Exercises answer in the page: without a kernel and without a network, they say what the
// notebook says. Written by tools/answers.py; the seal of a form is that of
// `Exercise.sealed` in helpers/exercises.py, which explains it.
{
  // Bytes, hashes and masks

  const utf8 = text => new TextEncoder().encode(text);
  const bytes = base64 => Uint8Array.from(atob(base64), c => c.charCodeAt(0));

  // The first 32 bits behind the point of the roots of the first 64 primes. (The browser's
  // own hash is missing where a page comes over http from another computer of the room.)
  const fraction = number => (number % 1) * 2 ** 32 | 0;
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every(p => n % p)) primes.push(n);
  const start = primes.slice(0, 8).map(p => fraction(Math.sqrt(p)));
  const constants = primes.map(p => fraction(Math.cbrt(p)));

  const sha256 = message => {
    const blocks = Math.ceil((message.length + 9) / 64);
    const padded = new Uint8Array(64 * blocks);
    padded.set(message);
    padded[message.length] = 0x80;
    const words = new DataView(padded.buffer);
    words.setUint32(padded.length - 4, 8 * message.length);
    const turn = (x, n) => x >>> n | x << 32 - n;
    const state = Int32Array.from(start), w = new Int32Array(64);
    for (let block = 0; block < blocks; block++) {
      let [a, b, c, d, e, f, g, h] = state;
      for (let i = 0; i < 64; i++) {
        if (i < 16) w[i] = words.getInt32(64 * block + 4 * i);
        else {
          const x = w[i - 15], y = w[i - 2];
          w[i] = w[i - 16] + (turn(x, 7) ^ turn(x, 18) ^ x >>> 3)
            + w[i - 7] + (turn(y, 17) ^ turn(y, 19) ^ y >>> 10);
        }
        const one = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + (e & f ^ ~e & g) + constants[i] + w[i];
        const two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + (a & b ^ a & c ^ b & c);
        [h, g, f, e, d, c, b, a] = [g, f, e, d + one | 0, c, b, a, one + two | 0];
      }
      [a, b, c, d, e, f, g, h].forEach((word, i) => state[i] += word);
    }
    const digest = new DataView(new ArrayBuffer(32));
    state.forEach((word, i) => digest.setInt32(4 * i, word));
    return new Uint8Array(digest.buffer);
  };

  const digest = (...parts) => sha256(utf8(parts.join("\0")));
  const hash = (...parts) => btoa(String.fromCharCode(...digest("is", ...parts).slice(0, 9)));
  const unmasked = (masked, ...key) => {
    const data = bytes(masked);
    let row;
    return new TextDecoder().decode(data.map((byte, i) => {
      if (i % 32 == 0) row = digest("says", ...key, i / 32);
      return byte ^ row[i % 32];
    }));
  };

  // Reading what was typed: a number, a word, true or false, or a list of them

  const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
  const DECIMAL_COMMA = /\d,\d/;

  const unquoted = text => text.trim().replace(/^(["'“‘])(.*)["'”’]$/s, "$2");

  const readItem = (text, kind) => {
    if (/^(true|false)$/i.test(text)) return text.toLowerCase() == "true";
    if (kind == "bool" && /^(yes|no)$/i.test(text)) return text.toLowerCase() == "yes";
    const parts = text.split("/");
    if (parts.length < 3 && parts.every(part => NUMBER.test(part)) && Number(parts[1]) !== 0) {
      return parts.length == 2 ? parts[0] / parts[1] : Number(text);
    }
    if (kind == "number") throw "Write numbers as 0.25 or 1/4, and commas between them.";
    if (kind == "bool") throw "Write True or False.";
    return unquoted(text);
  };

  const readList = (text, kind) => {
    const open = [[]];
    for (const token of text.match(/[[(]|[\])]|"[^"]*"|'[^']*'|[^[\]()\s,;]+/g) || []) {
      if ("[(".includes(token)) open.push([]);
      else if ("])".includes(token)) {
        const list = open.pop();
        if (!open.length) throw "A bracket is closed that was not opened.";
        open.at(-1).push(list);
      } else open.at(-1).push(readItem(token, kind));
    }
    if (open.length > 1) throw "A bracket is not closed.";
    return open[0].length == 1 && !/[,;]\s*$/.test(text) ? open[0][0] : open[0];
  };

  const read = (text, [word, shape]) => {
    if (word == "string" && !shape.length) return unquoted(text);
    if (word == "string") return readList(text, word);
    text = text.trim().replaceAll("\u2212", "-").replace(/\s*\/\s*/g, "/");
    if (text.includes("%")) throw "Write plain numbers, without a percent sign.";
    const separated = shape.length && !/[\s;]/.test(text.replace(/^\W+|\W+$/g, ""));
    if (DECIMAL_COMMA.test(text) && !separated) {
      throw "Write decimals with a point, as 0.25" + (shape.length ? ", and a space after each comma." : ".");
    }
    return readList(text, word);
  };

  // Kinds and verdicts, as in helpers/exercises.py

  const shapeOf = value => {
    if (!Array.isArray(value)) return [];
    const inside = value.map(shapeOf);
    const same = [];
    for (const [depth, length] of (inside[0] || []).entries()) {
      if (inside.some(shape => shape[depth] !== length)) break;
      same.push(length);
    }
    return [value.length, ...same];
  };

  const kindOf = value => {
    const shape = shapeOf(value);
    const names = {number: "number", string: "string", boolean: "bool", object: "list"};
    let words = new Set(shape.length ? value.flat(shape.length - 1).map(item => names[typeof item]) : [names[typeof value]]);
    if (!words.size || shape.length && [...words].every(word => ["number", "bool"].includes(word))) words = new Set(["number"]);
    return words.size == 1 ? [[...words][0], shape] : ["list", []];
  };

  const inWords = ([word, shape]) =>
    shape.length ? `${word}s of shape (${shape.join(", ")}${shape.length == 1 ? "," : ""})` : `a ${word}`;

  const indexOf = (number, tolerance, [exponent, shift]) => {
    const scale = Number(`1e${exponent}`), place = number * scale;
    if (!(Math.abs(place) < 1e15)) return "none";
    const index = Math.floor(place - shift + 0.5), point = (index + shift) / scale;
    return Math.abs(number - point) <= tolerance + 1e-12 * Math.abs(point) ? String(index) : "none";
  };

  const textOf = (value, tolerance, grid) => {
    const items = [value].flat(Infinity);
    return JSON.stringify(grid.length ? items.map((item, i) => indexOf(Number(item), tolerance, grid[i])) : items);
  };

  const slip = (seal, number, letter) => {
    const {hash: right, any, hints} = seal.each[number], position = String(number);
    const found = hash(seal.salt, position, letter);
    if (found == right) return "";
    if (any !== undefined) return unmasked(any, seal.salt, position);
    return found in hints ? unmasked(hints[found], seal.salt, position, letter) : `Look at answer ${number + 1} again.`;
  };

  const verdict = (seal, typed) => {
    const wanted = seal.answers[0].kind;
    const value = seal.each.length ? typed.replace(/[\s,;]/g, "").toUpperCase() : read(typed, wanted);
    const kind = kindOf(value);
    for (const [number, answer] of seal.answers.entries()) {
      if (String(answer.kind) != String(kind)) continue;
      const text = textOf(value, seal.tolerance, answer.grid);
      if (hash(seal.salt, text) != answer.hash) continue;
      return `${number ? "not yet." : "right."} ${unmasked(answer.said, seal.salt, text)}`;
    }
    if (seal.each.length) {
      const letters = [...value], length = seal.each.length;
      if (letters.length != length) return `not yet. The answer should have ${length} letters, and this has ${letters.length}.`;
      const hints = letters.map((letter, number) => slip(seal, number, letter));
      return `not yet. ${[...new Set(hints.filter(Boolean))].join(" ")}`;
    }
    if (String(wanted) != String(kind)) return `not yet. The answer should be ${inWords(wanted)}, and this is ${inWords(kind)}.`;
    return "not yet.";
  };

  // The forms. Nothing is sent and nothing is remembered.

  const say = (output, sentence) => {
    const [first, state] = /^(right|not yet)\.|$/.exec(sentence);
    output.dataset.state = state || "";
    output.replaceChildren();
    if (first) output.append(Object.assign(document.createElement("strong"), {textContent: first}));
    output.append(sentence.slice(first.length));
  };

  const answerIn = form => {
    const field = form.querySelector("input"), output = form.querySelector("output");
    const seal = JSON.parse(unmasked(field.dataset.seal, "seal"));
    field.addEventListener("input", () => say(output, ""));  // so that the same words are said anew
    form.addEventListener("submit", event => {
      event.preventDefault();
      try {
        say(output, field.value.trim() ? verdict(seal, field.value) : "not answered yet.");
      } catch (problem) {
        if (typeof problem != "string") throw problem;
        say(output, problem);
      }
    });
  };

  const showSolutionOf = exercise => {
    const button = exercise.querySelector("[aria-expanded]");
    const solution = document.getElementById(button.getAttribute("aria-controls"));
    button.addEventListener("click", () => {
      solution.innerHTML ||= unmasked(exercise.dataset.solution, exercise.id);
      solution.hidden = !solution.hidden;
      button.setAttribute("aria-expanded", !solution.hidden);
      button.textContent = `${solution.hidden ? "Show" : "Hide"} the solution`;
      for (const code of solution.querySelectorAll("pre")) {
        if (code.scrollWidth > code.clientWidth) code.tabIndex = 0;  // the keyboard must reach what scrolls
      }
    });
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll(".exercise form").forEach(answerIn);
    document.querySelectorAll(".exercise").forEach(showSolutionOf);
  });
}
