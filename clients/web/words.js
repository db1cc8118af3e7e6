// What is sought by: the words of a text, without case and accents, as the service compares
// them (taskapi/tasks/words.py), so that both find the same.

const STROKES = { ø: "o", ł: "l", đ: "d", ħ: "h", ŧ: "t", ı: "i", æ: "ae", œ: "oe", ς: "σ" };
const STROKED = new RegExp(`[${Object.keys(STROKES).join("")}]`, "g");
const ACCENTS = /[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]/g;
// Scripts that put no space between words, and pictures: each character is a word.
const ALONE =
  "\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff\\u2190-\\u23ff\\u25a0-\\u27bf\\u2900-\\u297f" +
  "\\u2b00-\\u2bff\\u3030-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\u{1f000}-\\u{3ffff}";
const WORD = new RegExp(
  `[${ALONE}]|[[\\p{L}\\p{N}\\u0900-\\u0963\\u0966-\\u0dff]--[${ALONE}]]+`,
  "gv",
);
const ASCII = /^[\0-\x7f]*$/;

/** The words of a text as they are compared; "Crème Brûlée!" has creme and brulee. */
export function words(text) {
  let folded = text.toLowerCase();
  if (!ASCII.test(text)) {
    // By way of the capitals, since ß is to be found by SS.
    folded = text.toUpperCase().toLowerCase().normalize("NFKD").replace(ACCENTS, "");
    folded = folded.normalize("NFC").toLowerCase().replace(STROKED, (letter) => STROKES[letter]);
  }
  return folded.match(WORD) ?? [];
}

const folded = new WeakMap();

/** Make the test whether a task has each of these words, or words that begin like them. */
export function finder(query) {
  const sought = words(query).map((word) => ` ${word}`);
  if (sought.length === 0) return null;
  return (task) => {
    let text = folded.get(task);
    if (text === undefined) {
      text = ` ${words(`${task.title} ${task.description ?? ""}`).join(" ")}`;
      folded.set(task, text);
    }
    return sought.every((word) => text.includes(word));
  };
}
