// The launch page: follows the event stream, shows where the time goes, and opens the server.
import { config, publicBase } from "./config.js";
import { copyText, wireCopyButtons } from "./copy.js";
import { openUrl } from "./links.js";
import { Log } from "./log.js";
import { Phases, STEPS, formatSeconds } from "./phases.js";

const byId = (id) => document.getElementById(id);
const launch = byId("launch");
const log = new Log(byId("log"), byId("log-count"));
const phases = new Phases(performance.now());
let over = false;
const TOKEN_SECONDS = 240;
const MOST_LOST = 6;

function specFromPath() {
  // The raw path: what is encoded in a link stays encoded.
  return window.location.pathname.slice(`${config.baseUrl}v2/${launch.dataset.provider}/`.length);
}

// The page itself has begun the first stream, and kept what came so far (null: it broke off).
function streamOf(spec) {
  const begun = window.begun;
  window.begun = null;
  if (begun) return begun;
  const age = performance.now() / 1000;
  const token = age < TOKEN_SECONDS ? `?build_token=${config.buildToken}` : "";
  return { source: new EventSource(`${config.baseUrl}build/${launch.dataset.provider}/${spec}${token}`), kept: [] };
}

// A browser would connect again by itself, with a token that ends after some minutes: so we do it.
function follow(spec, lost = 0) {
  const { source, kept } = streamOf(spec);
  let missed = lost;
  source.onmessage = (message) => {
    missed = 0;
    take(JSON.parse(message.data), source);
  };
  source.onerror = () => {
    source.close();
    if (over) return;
    missed += 1;
    if (missed > MOST_LOST) {
      fail("", {
        title: "The connection to the server was lost",
        advice: "What was begun goes on: trying again continues where it is.",
      });
      return;
    }
    say("The connection was lost; connecting again…");
    setTimeout(() => follow(spec, missed), 1000 * missed);
  };
  for (const message of kept) {
    if (message) source.onmessage(message);
    else source.onerror();
  }
}

function take(event, source) {
  const phase = String(event.phase || "").toLowerCase();
  phases.take(phase, performance.now());
  if (event.message) log.append(event.message);
  if (phase === "building" && !byId("log-panel").dataset.touched) byId("log-panel").open = true;
  if (phase === "failed" || phase === "failure") {
    source.close();
    fail(event.message || "", event.explanation);
  } else if (phase === "ready" && event.url) {
    source.close();
    open(event);
  } else {
    say(`${STEPS[phases.current].doing}…`);
  }
  draw();
}

function say(text) {
  if (byId("status").textContent !== text) byId("status").textContent = text;
}

function open(event) {
  over = true;
  launch.dataset.state = "ready";
  say("Ready: opening your server");
  const target = openUrl(event.url, event.token, new URLSearchParams(window.location.search));
  byId("open").href = target;
  byId("success").hidden = false;
  // Going back from the server must not launch once more.
  window.location.replace(target);
}

function fail(message, explanation) {
  over = true;
  phases.take("failed", performance.now());
  launch.dataset.state = "failed";
  say("This launch failed");
  const text = message.trim();
  byId("failure-title").textContent = explanation?.title || "This launch failed";
  byId("failure-advice").textContent = explanation?.advice || "The log says why.";
  const quote = explanation?.quote || text;
  byId("failure-quote").textContent = quote;
  byId("failure-quote").hidden = !quote;
  byId("failure").hidden = false;
  byId("log-panel").open = true;
  document.title = `Failed: ${document.title}`;
  draw();
}

function draw() {
  const now = performance.now();
  byId("total").textContent = formatSeconds(phases.total(now));
  STEPS.forEach((step, index) => {
    const item = byId(`step-${step.id}`);
    const bar = byId(`time-${step.id}`);
    const seconds = phases.seconds(index, now);
    item.dataset.state = stateOf(index);
    item.querySelector(".seconds").textContent = textOf(index, seconds);
    bar.style.flexGrow = seconds ? seconds.toFixed(2) : 0;
    bar.title = seconds ? `${step.label}: ${formatSeconds(seconds)}` : "";
  });
}

function stateOf(index) {
  if (phases.times[index].skipped) return "skipped";
  if (index < phases.current) return "done";
  if (index > phases.current) return launch.dataset.state === "running" ? "later" : "never";
  return { running: "now", ready: "done", failed: "failed" }[launch.dataset.state];
}

function textOf(index, seconds) {
  if (phases.times[index].skipped) return "not needed";
  return seconds === null ? "" : formatSeconds(seconds);
}

function makeSteps() {
  for (const step of STEPS) {
    const item = document.createElement("li");
    item.id = `step-${step.id}`;
    for (const [name, text] of [["mark", ""], ["label", step.label], ["seconds", ""]]) {
      const part = document.createElement("span");
      part.className = name;
      part.textContent = text;
      item.append(part);
    }
    byId("phases").append(item);
    const bar = document.createElement("span");
    bar.id = `time-${step.id}`;
    byId("times").append(bar);
  }
}

function showWhat(spec) {
  const named = decodeURIComponent(spec).replace(/\/+$/, "");
  const at = named.lastIndexOf("/");
  byId("what").textContent = at > 0 ? named.slice(0, at) : named;
  if (at > 0) byId("where").append(` · ${named.slice(at + 1)}`);
  byId("share-url").textContent = `${publicBase()}v2/${launch.dataset.provider}/${spec}${window.location.search}`;
}

const spec = specFromPath();
makeSteps();
showWhat(spec);
wireCopyButtons();
byId("retry").addEventListener("click", () => window.location.reload());
byId("copy-log").addEventListener("click", () => copyText(byId("copy-log"), log.text));
byId("log-panel").querySelector("summary").addEventListener("click", () => {
  byId("log-panel").dataset.touched = "yes";
});
const ticking = setInterval(() => {
  draw();
  if (over) clearInterval(ticking);
}, 100);
draw();
follow(spec);
