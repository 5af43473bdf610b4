// The log panel: appends, keeps the end in sight while the reader is there, and never holds more than it can show.
import { parseAnsi } from "./ansi.js";

const MOST_LINES = 5000;

export class Log {
  constructor(element, counter) {
    this.element = element;
    this.counter = counter;
    this.lines = 0;
    this.style = { bold: false, color: null };
  }

  append(message) {
    const atEnd = this.element.scrollHeight - this.element.scrollTop - this.element.clientHeight < 40;
    const text = message.endsWith("\n") ? message : `${message}\n`;
    const line = document.createElement("span");
    line.className = "line";
    for (const part of parseAnsi(text.replace(/\r\n?/g, "\n"), this.style)) {
      const piece = document.createElement("span");
      piece.textContent = part.text;
      piece.className = part.classes.join(" ");
      line.append(piece);
    }
    this.element.append(line);
    this.lines += 1;
    if (this.element.childElementCount > MOST_LINES) this.element.firstElementChild.remove();
    this.counter.textContent = `${this.lines} ${this.lines === 1 ? "line" : "lines"}`;
    if (atEnd) this.element.scrollTop = this.element.scrollHeight;
  }

  get text() {
    return this.element.textContent;
  }
}
