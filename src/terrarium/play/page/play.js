// The page asks, the server steps: one request is under way at most, so a slow model slows the page, never floods.
import { bind, describe } from "./keys.js";

const PACES = [2, 5, 10, 15, 20, 30];
const DEFAULT_PACE = 10;
const RATE_WINDOW = 1500; // milliseconds of arrivals behind the frames/s gauge

const element = (id) => document.getElementById(id);
const root = document.documentElement;
const pencil = element("screen").getContext("2d");

const held = new Map(); // what is held down ("key:KeyA", "button:2") -> latent code, the newest last
let keys = new Map(); // KeyboardEvent.code -> latent code
let socket = null;
let tapped = null; // pressed since the last request: even the shortest tap is one step
let resetWanted = false;
let waiting = false; // for an answer
let sentAt = 0;
let due = 0; // the pace allows no request before this moment
let sendTimer = 0;
let stillTimer = 0;
let arrivals = [];
let complaint = ""; // the server's last error: the reason, if the socket closes next

// ---- asking -----------------------------------------------------------------------------------------------

function wanted() {
  if (resetWanted) return { reset: true };
  const idle = element("running").checked && !document.hidden ? Number(element("idle").value) : null;
  const code = tapped ?? [...held.values()].at(-1) ?? idle;
  return code === null ? null : { action: code };
}

function schedule() {
  clearTimeout(sendTimer);
  if (waiting || root.dataset.state !== "connected") return;
  if (wanted() === null) {
    arrivals = []; // a pause is not a low rate
    return;
  }
  sendTimer = setTimeout(send, resetWanted ? 0 : Math.max(0, due - performance.now()));
}

function send() {
  const message = wanted();
  if (message === null) return;
  const interval = 1000 / Number(element("pace").value);
  sentAt = performance.now();
  // Counted from when it was due, so that late timers don't add up; from now, if the world stood still.
  due = (sentAt - due < interval ? due : sentAt) + interval;
  waiting = true;
  tapped = null;
  resetWanted = false;
  socket.send(JSON.stringify(message));
}

function press(source, code) {
  held.delete(source);
  held.set(source, code);
  tapped = code;
  mark();
  schedule();
}

function release(source) {
  if (held.delete(source)) mark();
}

function releaseAll() {
  held.clear();
  tapped = null;
  mark();
}

function reset() {
  resetWanted = true;
  schedule();
}

// ---- showing ----------------------------------------------------------------------------------------------

async function draw(png) {
  const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  pencil.drawImage(picture, 0, 0);
  picture.close();
}

async function show(message) {
  const now = performance.now();
  await draw(message.png);
  element("frame").textContent = message.frame;
  element("model").textContent = `${message.milliseconds.toFixed(1)} ms`;
  if (sentAt) element("trip").textContent = `${(now - sentAt).toFixed(1)} ms`;
  arrivals = [...arrivals.filter((arrival) => now - arrival < RATE_WINDOW), now];
  const span = now - arrivals[0];
  if (span > 0) element("rate").textContent = (((arrivals.length - 1) * 1000) / span).toFixed(1);
  clearTimeout(stillTimer);
  stillTimer = setTimeout(() => { element("rate").textContent = "still"; }, RATE_WINDOW);
}

function mark() {
  const code = [...held.values()].at(-1);
  for (const button of element("actions").children) {
    button.classList.toggle("active", Number(button.dataset.code) === code);
  }
}

function enter(state, text, reason = "") {
  root.dataset.state = state;
  element("status").textContent = text;
  element("reason").textContent = reason;
  for (const button of document.querySelectorAll(".controls button")) button.disabled = state !== "connected";
}

// ---- the world's greeting ---------------------------------------------------------------------------------

function make(tag, text, className = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  node.className = className;
  return node;
}

function actionButton(action, caps) {
  const button = make("button", "", "action");
  button.type = "button";
  button.dataset.code = action.code;
  const shown = make("span", "", "caps");
  shown.append(...caps.map((cap) => make("kbd", cap)));
  button.append(make("span", action.text, "name"), make("span", action.note, "note"), shown);
  const source = `button:${action.code}`;
  button.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || button.disabled) return;
    button.setPointerCapture(event.pointerId);
    press(source, action.code);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    button.addEventListener(end, () => release(source));
  }
  // A mouse must not leave the focus behind: Space would go to this button instead of to its own action.
  button.addEventListener("mousedown", (event) => event.preventDefault());
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  // A click without a pointer comes from assistive technology: one step.
  button.addEventListener("click", (event) => {
    if (event.detail === 0 && !event.pointerType) { press(source, action.code); release(source); }
  });
  return button;
}

// Fill a select; what was chosen before a reconnection stays chosen.
function offer(id, options, preset) {
  const chosen = element(id).value || preset;
  element(id).replaceChildren(...options);
  element(id).value = chosen;
}

function furnish(world) {
  document.title = world.title ? `${world.title} · Terrarium` : "Terrarium";
  element("title").textContent = world.title || "Terrarium";
  Object.assign(element("screen"), { width: world.width, height: world.height });
  const actions = Array.from({ length: world.actions }, (_, code) => describe(code, world.labels[code]));
  const bound = bind(actions);
  keys = bound.codeOf;
  element("actions").replaceChildren(...actions.map((action) => actionButton(action, bound.caps[action.code])));
  offer("idle", actions.map(({ code, text }) => new Option(text, code)), bound.idle);
  const own = world.frames_per_second && Math.round(world.frames_per_second);
  const paces = [...new Set([...PACES, ...(own ? [own] : [])])].sort((one, other) => one - other);
  const note = (pace) => (pace === own ? `${pace} fps, as recorded` : `${pace} fps`);
  offer("pace", paces.map((pace) => new Option(note(pace), pace)), DEFAULT_PACE);
  element("explanation").textContent = bound.named
    ? "Names and percentages were found afterwards, by comparing each code with the recorded actions."
    : "Arrows and WASD stand for the first four codes. Nobody told the model what they mean: find out.";
}

// ---- the connection ---------------------------------------------------------------------------------------

async function receive(event) {
  const message = JSON.parse(event.data);
  if (message.world) return furnish(message.world);
  if (message.error) {
    complaint = message.error;
    element("status").textContent = message.error;
  } else {
    await show(message);
    if (socket.readyState !== WebSocket.OPEN) return;
    if (root.dataset.state !== "connected" || complaint) enter("connected", "Connected");
    complaint = "";
  }
  waiting = false;
  schedule();
}

function connect() {
  enter("connecting", "Connecting");
  complaint = "";
  waiting = true; // for frame 0, which comes unasked
  sentAt = 0;
  resetWanted = false;
  releaseAll();
  socket = new WebSocket(`ws://${location.host}/play`);
  socket.addEventListener("message", receive);
  socket.addEventListener("close", () => {
    releaseAll();
    const reason = complaint || "The server has stopped or is out of reach.";
    enter("disconnected", "Disconnected", reason[0].toUpperCase() + reason.slice(1));
    element("reconnect").focus();
  });
}

// ---- keys and switches ------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("select")) return;
  const focused = event.target.closest("button, input");
  const activates = focused && (event.code === "Space" || event.code === "Enter");
  const code = activates && focused.dataset.code ? Number(focused.dataset.code) : keys.get(event.code);
  const isReset = event.key.toLowerCase() === "r";
  if ((activates && !focused.dataset.code) || (code === undefined && !isReset)) return;
  event.preventDefault();
  if (event.repeat || root.dataset.state !== "connected") return;
  if (isReset) reset();
  else press(`key:${event.code}`, code);
});
document.addEventListener("keyup", (event) => {
  if (held.has(`key:${event.code}`)) event.preventDefault(); // or a focused button takes it for a click
  release(`key:${event.code}`);
});
window.addEventListener("blur", releaseAll);
document.addEventListener("visibilitychange", () => (document.hidden ? releaseAll() : schedule()));

element("reset").addEventListener("click", reset);
element("reconnect").addEventListener("click", connect);
for (const id of ["pace", "idle", "running"]) {
  let pointed = false;
  element(id).addEventListener("pointerdown", () => { pointed = true; });
  element(id).addEventListener("keydown", () => { pointed = false; });
  element(id).addEventListener("change", (event) => {
    due = 0;
    // Chosen with a mouse, give the arrow keys back to the world; with the keyboard, leave the focus alone.
    if (pointed) event.target.blur();
    schedule();
  });
}
connect();
