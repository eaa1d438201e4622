// Ranks a shelf by what was looked at last, on the device. Knows nothing of pages.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";

const GAPS = 32; // as bundle/sequence_scorer/read.py
// As features/histories.py and scenarios/recommend/features.py.
const EVENTS = 256;
const DAY = 86400; // seconds
const OFTEN = [3, 14, 45];
const LONG = 104;

// Opens the folder that `vetrina export` wrote. Rejects where a file is missing or is no student.
export async function open(base = ".") {
  ort.env.wasm.numThreads = 1;
  const answer = await fetch(`${base}/shelf.json`);
  if (!answer.ok) throw new Error(`shelf.json: ${answer.status}`);
  const { version, reads, last, products } = await answer.json();
  const session = await ort.InferenceSession.create(`${base}/student.onnx`, { executionProviders: ["wasm"] });
  const place = new Map(products.map((product, at) => [product.id, at]));
  const asked = reads === "facts" ? habits : sequence;
  return {
    version,
    products,
    // clicks: [{id, at}], oldest first, `at` in seconds. One score for each product of the shelf.
    async scores(clicks, now = Date.now() / 1000) {
      const known = clicks.filter((click) => place.has(click.id)).map(({ id, at }) => ({ item: place.get(id), at }));
      return (await session.run(asked(known, last, now))).scores.data;
    },
  };
}

function sequence(clicks, last) {
  if (!clicks.length) return { items: whole([-1]), gaps: whole([0]) };
  const known = clicks.slice(-last);
  const gaps = known.map((click, n) => gap(n ? click.at - known[n - 1].at : 0));
  return { items: whole(known.map((click) => click.item).reverse()), gaps: whole(gaps.reverse()) };
}

function habits(clicks, last, now) {
  const { items, facts } = facts_of(clicks.slice(-EVENTS), now, last);
  const columns = facts[0].length;
  const about = new ort.Tensor("float32", Float32Array.from(facts.flat()), [1, facts.length, columns]);
  return { items: whole(items), facts: about };
}

// The distinct products of clicks and the facts about each, as scenarios/recommend/habits.py has them; without clicks one row that
// is about no product.
export function facts_of(clicks, now, last = Infinity) {
  const ages = clicks.map((click) => Math.max(now - click.at, 0));
  const items = [...new Set(clicks.map((click) => click.item))].sort((a, b) => a - b);
  const hours = ages.map((age) => age / 3600);
  const same = [clicks.length, Math.min(9600, ...hours), Math.max(0, ...hours), items.length].map(Math.log1p);
  same.push(items.length / Math.max(clicks.length, 1));
  if (!items.length) return { items: [-1], facts: [[...new Array(13).fill(0), ...same]] };
  const taken = items.map((item) => {
    const at = clicks.flatMap((click, n) => (click.item === item ? [n] : []));
    const own = at.map((n) => ages[n]), newest = Math.min(...own), usual = (Math.max(...own) - newest) / (own.length - 1);
    const faded = (days) => own.reduce((sum, age) => sum + 2 ** (-age / (days * DAY)), 0);
    return {
      count: own.length,
      steps: clicks.length - 1 - at[at.length - 1],
      newest,
      gap: own.length > 1 ? Math.min(newest / Math.max(usual, 3600), 10) : -1,
      often: OFTEN.map(faded),
      long: faded(LONG),
    };
  });
  const longs = taken.map((one) => one.long), shorts = taken.map((one) => one.often[1]);
  const [long, short] = [longs, shorts].map((values) => values.map((value) => value / Math.max(...values, 1e-6)));
  const ranks = [longs, shorts].map((values) => {
    const order = values.map((_, n) => n).sort((a, b) => values[b] - values[a] || a - b);
    return order.reduce((found, n, rank) => ((found[n] = Math.log1p(rank)), found), []);
  });
  const facts = taken.map((one, n) => [
    long[n], short[n], ranks[0][n], ranks[1][n], Math.log1p(one.count), Math.log1p(one.steps), Math.log1p(one.newest / 3600),
    0, one.gap, ...one.often.map(Math.log1p), Math.log1p(one.long), ...same,
  ]);
  const most = items.map((_, n) => n).sort((a, b) => long[b] + short[b] - long[a] - short[a] || a - b);
  const kept = most.slice(0, last).sort((a, b) => a - b);
  return { items: kept.map((n) => items[n]), facts: kept.map((n) => facts[n]) };
}

// The class of the seconds since the click before: 1 + floor(log2(1 + seconds)) below GAPS, 0 where none have passed.
export function gap(seconds) {
  return seconds > 0 ? Math.min(1 + Math.floor(Math.log2(1 + seconds)), GAPS - 1) : 0;
}

function whole(numbers) {
  return new ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), [1, numbers.length]);
}
