// Ranks a shelf by what was looked at last, on the device. Knows nothing of pages.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";

const GAPS = 32; // as retrieval/next_item.py

// Opens the folder that `vetrina export` wrote. Rejects where a file is missing or is no student.
export async function open(base = ".") {
  ort.env.wasm.numThreads = 1;
  const answer = await fetch(`${base}/shelf.json`);
  if (!answer.ok) throw new Error(`shelf.json: ${answer.status}`);
  const { version, last, products } = await answer.json();
  const session = await ort.InferenceSession.create(`${base}/student.onnx`, { executionProviders: ["wasm"] });
  const place = new Map(products.map((product, at) => [product.id, at]));
  return {
    version,
    products,
    // clicks: [{id, at}], oldest first, `at` in seconds. One score for each product of the shelf.
    async scores(clicks) {
      const known = clicks.filter((click) => place.has(click.id)).slice(-last);
      const items = known.map((click) => place.get(click.id)).reverse();
      const gaps = known.map((click, n) => gap(n ? click.at - known[n - 1].at : 0)).reverse();
      const asked = known.length ? { items: whole(items), gaps: whole(gaps) } : { items: whole([-1]), gaps: whole([0]) };
      return (await session.run(asked)).scores.data;
    },
  };
}

// The class of the seconds since the click before: 1 + floor(log2(1 + seconds)) below GAPS, 0 where none have passed.
export function gap(seconds) {
  return seconds > 0 ? Math.min(1 + Math.floor(Math.log2(1 + seconds)), GAPS - 1) : 0;
}

function whole(numbers) {
  return new ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), [1, numbers.length]);
}
