// What is sought by: the words of a text, without case and accents, as the service compares
// them (taskapi/tasks/words.py), so that both find the same. Characters are told apart by their
// Unicode properties, as the browser has them.

const STROKES = { ø: "o", ł: "l", đ: "d", ħ: "h", ŧ: "t", ı: "i", æ: "ae", œ: "oe", ς: "σ" };
const STROKED = new RegExp(`[${Object.keys(STROKES).join("")}]`, "g");
const MARK = /[\p{Mn}\p{Default_Ignorable_Code_Point}]/gu;
const INVISIBLE = /\p{Default_Ignorable_Code_Point}/u;
// Scripts that put no space between words: each character is a word.
const SCRIPTS = [
  ...["Han", "Hira", "Kana", "Bopo", "Yi", "Nshu"],
  ...["Thai", "Laoo", "Mymr", "Khmr", "Tale", "Talu", "Lana", "Tavt"],
];
// Behind them what Japanese has in common for both of its syllabaries.
const UNSPACED = `${SCRIPTS.map((script) => `\\p{Script=${script}}`).join("")}\u3006ー\uff70\uff9e\uff9f`;
const LETTER = "[\\p{L}\\p{N}\\p{M}]";
// So are symbols beyond Latin-1, pictures included.
const ALONE = `[[${UNSPACED}]&&${LETTER}]|[[\\p{So}\\p{Sm}\\p{Sk}]--[\\0-\\xff]]`;
const WORD = new RegExp(`${ALONE}|[${LETTER}--[${UNSPACED}]]+`, "gv");
const LONGEST = 8000; // characters; some decompose into eighteen
const ASCII = /^[\0-\x7f]*$/;

// Marks with a known combining class, to compare others with.
const OVERLAY = "\u0334"; // 1
const VIRAMA = "\u094d"; // 9
const SUPERSCRIPT_ALAPH = "\u0711"; // 36
const TIBETAN_VOWEL = "\u0f74"; // 132, the last before 200
const dropped = new Map();

/** The words of a text as they are compared; "Crème Brûlée!" has creme and brulee. */
export function words(text) {
  let folded = text.toLowerCase();
  if (!ASCII.test(text)) {
    // By way of the capitals, since ß is to be found by SS.
    const decomposed = folded.toUpperCase().toLowerCase().normalize("NFKD");
    folded = [...decomposed].slice(0, LONGEST).join("").replace(MARK, dropMark);
    folded = folded.normalize("NFC").replace(STROKED, (letter) => STROKES[letter]).toLowerCase();
  }
  return folded.match(WORD) ?? [];
}

/** Drop invisible characters, and the marks that people leave out when they type. */
function dropMark(mark) {
  if (!dropped.has(mark)) dropped.set(mark, INVISIBLE.test(mark) || isAccent(mark) ? "" : mark);
  return dropped.get(mark);
}

/** Whether the combining class is 1, 10 to 36, or 200 and more: normalising sorts by it. */
function isAccent(mark) {
  const isAbove = (other) => (mark + other).normalize("NFD") !== mark + other;
  const isBelowVirama = (VIRAMA + mark).normalize("NFD") !== VIRAMA + mark;
  if (isAbove(TIBETAN_VOWEL)) return true;
  if (isAbove(VIRAMA)) return !isAbove(SUPERSCRIPT_ALAPH);
  return isBelowVirama && !isAbove(OVERLAY);
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
