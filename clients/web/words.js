// Split texts into folded words for the search, like taskapi/tasks/words.py, so that the page and
// the service find the same tasks. The classes of characters are the browser's Unicode properties.

const STROKES = { ø: "o", ł: "l", đ: "d", ħ: "h", ŧ: "t", ı: "i", æ: "ae", œ: "oe", ς: "σ" };
const STROKED = new RegExp(`[${Object.keys(STROKES).join("")}]`, "g");
const MARK = /[\p{Mn}\p{Default_Ignorable_Code_Point}]/gu;
const INVISIBLE = /\p{Default_Ignorable_Code_Point}/u;
// Scripts without spaces between words: each character is a word.
const SCRIPTS = [
  ...["Han", "Hira", "Kana", "Bopo", "Yi", "Nshu"],
  ...["Thai", "Laoo", "Mymr", "Khmr", "Tale", "Talu", "Lana", "Tavt"],
];
// Followed by the characters that both Japanese syllabaries share.
const UNSPACED = `${SCRIPTS.map((script) => `\\p{Script=${script}}`).join("")}\u3006ー\uff70\uff9e\uff9f`;
const LETTER = "[\\p{L}\\p{N}\\p{M}]";
// Symbols beyond Latin-1, pictures included, are words too.
const ALONE = `[[${UNSPACED}]&&${LETTER}]|[[\\p{So}\\p{Sm}\\p{Sk}]--[\\0-\\xff]]`;
const WORD = new RegExp(`${ALONE}|[${LETTER}--[${UNSPACED}]]+`, "gv");
const MAX_CHARACTERS = 8000; // Some characters decompose into eighteen.
const ASCII = /^[\0-\x7f]*$/;

// Marks with a known combining class, as references for comparison.
const OVERLAY = "\u0334"; // 1
const VIRAMA = "\u094d"; // 9
const SUPERSCRIPT_ALAPH = "\u0711"; // 36
const TIBETAN_VOWEL = "\u0f74"; // 132, the last before 200
const dropped = new Map();

/** Return the folded words of a text: "Crème Brûlée!" gives creme and brulee. */
export function words(text) {
  let folded = text.toLowerCase();
  if (!ASCII.test(text)) {
    // Upper case first, so that SS finds ß.
    const decomposed = folded.toUpperCase().toLowerCase().normalize("NFKD");
    folded = [...decomposed].slice(0, MAX_CHARACTERS).join("").replace(MARK, dropMark);
    folded = folded.normalize("NFC").replace(STROKED, (letter) => STROKES[letter]).toLowerCase();
  }
  return folded.match(WORD) ?? [];
}

/** Drop invisible characters and accents, which users omit when typing. */
function dropMark(mark) {
  if (!dropped.has(mark)) dropped.set(mark, INVISIBLE.test(mark) || isAccent(mark) ? "" : mark);
  return dropped.get(mark);
}

/** Return whether the combining class, by which NFD sorts, is 1, 10 to 36, or 200 and more. */
function isAccent(mark) {
  const isAbove = (other) => (mark + other).normalize("NFD") !== mark + other;
  const isBelowVirama = (VIRAMA + mark).normalize("NFD") !== VIRAMA + mark;
  if (isAbove(TIBETAN_VOWEL)) return true;
  if (isAbove(VIRAMA)) return !isAbove(SUPERSCRIPT_ALAPH);
  return isBelowVirama && !isAbove(OVERLAY);
}

const folded = new WeakMap();

/** Make a predicate for tasks that have words starting with each word of the query. */
export function makeMatcher(query) {
  const prefixes = words(query).map((word) => ` ${word}`);
  if (prefixes.length === 0) return null;
  return (task) => {
    let text = folded.get(task);
    if (text === undefined) {
      text = ` ${words(`${task.title} ${task.description ?? ""}`).join(" ")}`;
      folded.set(task, text);
    }
    return prefixes.every((word) => text.includes(word));
  };
}
