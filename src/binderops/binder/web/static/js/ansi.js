// Colours of terminal output. Only text nodes and class names are made: nothing in a log can become markup.
const CONTROL = /\x1b\[([0-9;]*)m|\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Splits text into `{text, classes}`; `style` is kept between calls, as a terminal does. */
export function parseAnsi(text, style) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(CONTROL)) {
    push(parts, text.slice(from, match.index), style);
    if (match[1] !== undefined) applyCodes(style, match[1]);
    from = match.index + match[0].length;
  }
  push(parts, text.slice(from), style);
  return parts;
}

function push(parts, text, style) {
  if (!text) return;
  const classes = [];
  if (style.bold) classes.push("ansi-bold");
  if (style.color !== null && style.color !== undefined) classes.push(`ansi-${style.color}`);
  parts.push({ text, classes });
}

function applyCodes(style, codes) {
  const numbers = (codes || "0").split(";").map(Number);
  for (let index = 0; index < numbers.length; index += 1) {
    const code = numbers[index];
    if (code === 0) Object.assign(style, { bold: false, color: null });
    else if (code === 1) style.bold = true;
    else if (code === 22) style.bold = false;
    else if (code >= 30 && code <= 37) style.color = code - 30;
    else if (code >= 90 && code <= 97) style.color = code - 90;
    else if (code === 39) style.color = null;
    else if (code === 38 || code === 48) index += numbers[index + 1] === 5 ? 2 : 4; // palettes are left out
  }
}
