// The page: shows the best of the shelf; what is clicked stays in this browser's storage.
import { open } from "./rerank.mjs";

const SHOWN = 24, KEPT = 50, KEY = "vetrina.clicks";
const said = document.getElementById("said"), list = document.getElementById("shelf");

try {
  const shelf = await open();
  await show(shelf);
  document.getElementById("forget").addEventListener("click", () => {
    localStorage.removeItem(KEY);
    show(shelf);
  });
} catch (error) {
  said.textContent = `The shelf cannot be opened (${error.message}). Run "npm install" in this folder and serve it over HTTP.`;
}

function clicks() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
}

async function show(shelf) {
  const looked = clicks(), begun = performance.now();
  const scores = await shelf.scores(looked);
  const took = performance.now() - begun;
  const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a] || a - b).slice(0, SHOWN);
  const seen = new Set(looked.map((click) => click.id));
  list.replaceChildren(...order.map((at) => item(shelf, shelf.products[at], seen)));
  const about = looked.length ? `by the last ${looked.length} you looked at` : "as most like them";
  said.textContent = `${shelf.products.length} products, ranked here ${about} in ${took.toFixed(1)} ms. Nothing left this device.`;
}

function item(shelf, product, seen) {
  const entry = document.createElement("li"), button = document.createElement("button");
  button.type = "button";
  button.textContent = product.title;
  button.dataset.product = product.id;
  entry.classList.toggle("seen", seen.has(product.id));
  button.addEventListener("click", () => {
    const kept = [...clicks(), { id: product.id, at: Date.now() / 1000 }].slice(-KEPT);
    localStorage.setItem(KEY, JSON.stringify(kept));
    show(shelf);
  });
  entry.append(button);
  return entry;
}
