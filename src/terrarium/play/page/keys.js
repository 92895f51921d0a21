// Which key stands for which latent action. The model's codes have no names of their own: a label such as
// "0 ~ MOVE_LEFT 71 %" is what `terrarium evaluate` found code 0 to go with, and in what share of cases.

const LABEL = /^(\d+)\s*~\s*(.+?)\s+(\d+(?:\.\d+)?)\s*%$/;

// Physical keys (KeyboardEvent.code), what the button shows for them, and the names they stand for.
const NAMED_KEYS = [
  { codes: ["ArrowLeft", "KeyA"], caps: ["←", "A"], names: /left|west/i },
  { codes: ["ArrowRight", "KeyD"], caps: ["→", "D"], names: /right|east/i },
  { codes: ["ArrowUp", "KeyW"], caps: ["↑", "W"], names: /(^|[^a-z])(up|forward|north|jump)/i },
  { codes: ["ArrowDown", "KeyS"], caps: ["↓", "S"], names: /(^|[^a-z])(down|back|south|duck)/i },
  { codes: ["Space"], caps: ["Space"], names: /attack|fire|shoot|(^|[^a-z])(use|do)([^a-z]|$)/i },
];
const DIRECTIONS = NAMED_KEYS.slice(0, 4);
const IDLE = /no.?op|idle|nothing|stay|wait/i;

/** A label's parts: the true action's name ("" when unknown), the share in per cent, and two texts to show. */
export function describe(code, label = "") {
  const [, , name, percent] = LABEL.exec(label) ?? [0, 0, label, ""];
  const plain = name.replaceAll("_", " ").toLowerCase();
  const text = name ? plain[0].toUpperCase() + plain.slice(1) : `Action ${code}`;
  const note = name ? `code ${code}${percent && ` · ${percent} %`}` : "";
  return { code, name, percent: Number(percent), text, note };
}

// Of several codes that go with a name, the plainest name ("LEFT" before "UPLEFT"), then the surest.
function best(actions, names) {
  return actions
    .filter((action) => names.test(action.name))
    .sort((one, other) => one.name.length - other.name.length || other.percent - one.percent)[0];
}

/**
 * Bind keys to the actions of `describe`.
 * Digits go by position; arrows and WASD by name where any name is a direction, by position otherwise.
 * Returns { codeOf: Map from KeyboardEvent.code to latent code, caps: key caps per code, named, idle }.
 */
export function bind(actions) {
  const codeOf = new Map();
  const caps = actions.map(() => []);
  const give = ({ codes, caps: shown }, code) => {
    codes.forEach((key) => codeOf.set(key, code));
    caps[code].push(...shown);
  };
  actions.slice(0, 9).forEach(({ code }) => {
    const digit = code + 1;
    give({ codes: [`Digit${digit}`, `Numpad${digit}`], caps: [String(digit)] }, code);
  });
  const named = DIRECTIONS.some(({ names }) => best(actions, names));
  NAMED_KEYS.forEach((key, position) => {
    const action = named || !DIRECTIONS.includes(key) ? best(actions, key.names) : actions[position];
    if (action) give(key, action.code);
  });
  return { codeOf, caps, named, idle: best(actions, IDLE)?.code ?? 0 };
}
