// Where the time of a launch goes: which step each event belongs to, and how long each took. No DOM here.
export const STEPS = [
  { id: "find", label: "Find", doing: "Looking for the repository" },
  { id: "wait", label: "Wait", doing: "Waiting for a builder" },
  { id: "fetch", label: "Fetch", doing: "Fetching the repository" },
  { id: "build", label: "Build", doing: "Building the environment" },
  { id: "push", label: "Store", doing: "Storing the environment" },
  { id: "start", label: "Start", doing: "Starting your server" },
];

const STEP_OF_PHASE = {
  waiting: "wait", fetching: "fetch", building: "build", running: "build", pushing: "push",
  built: "start", launching: "start",
};

export class Phases {
  constructor(now) {
    this.started = now;
    this.ended = null;
    this.current = 0;
    this.times = STEPS.map(() => ({ started: null, seconds: 0, skipped: false }));
    this.times[0].started = now;
  }

  /** Take one event's phase. Steps never go back: a late line of an earlier step belongs to the current one. */
  take(phase, now) {
    if (this.ended !== null) return;
    if (phase === "ready" || phase === "failed" || phase === "failure") {
      this.#leave(now);
      this.ended = now;
      return;
    }
    const next = STEPS.findIndex((step) => step.id === STEP_OF_PHASE[phase]);
    if (next <= this.current) return;
    this.#leave(now);
    for (let index = this.current + 1; index < next; index += 1) this.times[index].skipped = true;
    this.current = next;
    this.times[next].started = now;
  }

  /** Seconds of a step up to now, or null if it did not begin. */
  seconds(index, now) {
    const time = this.times[index];
    if (time.started === null) return null;
    return index === this.current && this.ended === null ? (now - time.started) / 1000 : time.seconds;
  }

  total(now) {
    return ((this.ended ?? now) - this.started) / 1000;
  }

  #leave(now) {
    const time = this.times[this.current];
    time.seconds = (now - time.started) / 1000;
  }
}

export function formatSeconds(seconds) {
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}
