// The table of problems, and the traces that open below them.
const problems = data.rows.map(row => Object.fromEntries(row.map((value, i) => [data.columns[i], value])));
for (const problem of problems) {
  problem.asked = data.questions[problem.question];
  problem.haystack = [problem.problem_id, problem.asked, problem.answer, problem.gold].join("\n").toLowerCase();
}
const step = 200;
const count = value => value === null ? "–" : Math.round(value).toLocaleString("en");
const percent = value => value === null ? "–" : Math.round(100 * value) + " %";
const columns = [
  ...(data.runs.length > 1 ? [{ name: "run", of: p => data.runs[p.run], kind: "name" }] : []),
  { name: "problem", of: p => p.problem_id, show: ending, kind: "short", key: p => data.runs.length > 1 ? p.problem_id : p.problem_index },
  { name: "question", of: p => p.asked, kind: "question", extra: true },
  { name: "outcome", of: p => p.outcome, kind: "badge" },
  { name: "answer", of: p => p.answer ?? "–", kind: "short" },
  { name: "gold", of: p => p.gold ?? "–", kind: "short", extra: true },
  { name: "margin", of: p => percent(p.margin), key: p => p.margin ?? -1, kind: "number", extra: true },
  { name: "clusters", of: p => p.clusters || "–", key: p => p.clusters, kind: "number", extra: true },
  { name: "pruned", of: p => p.traces_started ? `${p.traces_pruned}/${p.traces_started}` : "–", key: p => p.traces_pruned, kind: "number", extra: true },
  { name: "net tokens", of: p => count(p.tokens_net), key: p => p.tokens_net, kind: "number" },
  { name: "judge calls", of: p => count(p.judge_calls), key: p => p.judge_calls, kind: "number", extra: true },
].filter(column => column.name !== "judge calls" || problems.some(p => p.judge_calls))
  .filter(column => column.name !== "clusters" || problems.some(p => p.clusters));
const state = { sort: null, down: false, shown: step };

function option(select, value, text) {
  const element = make("option", "", text);
  element.value = value;
  at(select).append(element);
}

function chosen() {
  const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const run = at("run").value, outcome = at("outcome").value, narrow = at("narrow").checked;
  const cut = at("cut").checked, tied = at("tied").checked;
  const found = problems.filter(p => (run === "" || p.run === +run) && (outcome === "" || p.outcome === outcome)
    && (!cut || p.traces_cut > 0) && (!tied || p.votes_tied > 1)
    && (!narrow || (p.margin !== null && p.margin < 0.2)) && words.every(word => p.haystack.includes(word)));
  if (state.sort) {
    const key = state.sort.key ?? state.sort.of;
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    found.sort((a, b) => { const x = key(a), y = key(b); return typeof x === "number" ? x - y : compare(x, y); });
    if (state.down) found.reverse();
  }
  return found;
}

function draw() {
  const found = chosen();
  at("shown").textContent = `${found.length.toLocaleString("en")} of ${problems.length.toLocaleString("en")} problems`;
  at("more").hidden = found.length <= state.shown;
  at("table").tBodies[0].replaceChildren(...found.slice(0, state.shown).map(line));
}

function line(problem) {
  const row = make("tr", "problem");
  row.tabIndex = 0;
  for (const column of columns) {
    const text = column.of(problem);
    const cell = make("td", column.kind, column.kind === "badge" ? null : column.show ? column.show(text) : text);
    if (column.kind === "badge") {
      cell.className = "";
      cell.append(make("span", "badge " + text.replace(" ", "-"), text));
    } else if (["short", "question", "name"].includes(column.kind)) cell.title = text;
    if (column.extra) cell.classList.add("extra");
    row.append(cell);
  }
  row.addEventListener("click", () => toggle(row, problem));
  row.addEventListener("keydown", event => { if (event.key === "Enter") toggle(row, problem); });
  return row;
}

function toggle(row, problem) {
  if (row.nextSibling?.classList?.contains("detail")) { row.nextSibling.remove(); return; }
  const detail = make("tr", "detail"), cell = make("td");
  cell.colSpan = columns.length;
  detail.append(cell);
  row.after(detail);
  cell.append(make("p", "asked", problem.asked));
  const notes = [];
  if (problem.votes_tied > 1) notes.push(`${problem.votes_tied} answers lead together; that of the earliest trace is taken`);
  if (problem.traces_cut) notes.push(`${count(problem.traces_cut)} of its traces reached the token cap`);
  if (problem.traces_unanswered) notes.push(`${count(problem.traces_unanswered)} finished without an answer`);
  if (notes.length) cell.append(make("p", "sub", notes.join("; ") + "."));
  if (problem.failure) cell.append(make("p", "wrong", problem.failure));
  votes(cell, problem);
  const list = make("div", "traces");
  cell.append(make("h4", "", "Traces"), list);
  list.append(make("p", "empty", "loading …"));
  load(`${problem.run}/${problem.problem_index}`, payload => traces(list, problem, payload), () =>
    list.replaceChildren(make("p", "empty", "Not there. Traces are written when a shard is done; keep this page beside its folder " + data.folder + ".")));
}

function votes(cell, problem) {
  if (!problem.vote_answers.length) return;
  cell.append(make("h4", "", `Votes (gold: ${problem.gold ?? "unknown"})`));
  const most = Math.max(...problem.vote_counts);
  problem.vote_answers.forEach((answer, i) => {
    const vote = make("div", "vote"), place = make("span");
    const bar = make("span", "bar" + (i === 0 && problem.outcome === "right" ? " right" : ""));
    bar.style.width = 70 * problem.vote_counts[i] / most + "%";
    place.append(bar, " " + +problem.vote_counts[i].toFixed(2));
    vote.append(make("span", "", answer), place);
    cell.append(vote);
  });
  if (problem.cluster_sizes.length) cell.append(make("p", "sub", "Clusters, largest first: " + problem.cluster_sizes.join(", ")
    + (problem.clusters > problem.cluster_sizes.length ? ", …" : "")));
}

// Files beside the page call receive(); a page from disk may load scripts, but not fetch.
const waiting = new Map(), known = new Map();
window.receive = (key, payload) => { known.set(key, payload); };
function load(key, use, fail) {
  if (known.has(key)) { use(known.get(key)); return; }
  if (waiting.has(key)) { waiting.get(key).push([use, fail]); return; }
  waiting.set(key, [[use, fail]]);
  const script = document.createElement("script");
  script.src = data.folder + "/" + key + ".js";
  const done = () => {
    const calls = waiting.get(key);
    waiting.delete(key);
    script.remove();
    for (const [good, bad] of calls) known.has(key) ? good(known.get(key)) : bad();
  };
  script.onload = done;
  script.onerror = done;
  document.head.append(script);
}

function traces(list, problem, payload) {
  list.replaceChildren();
  const longest = Math.max(1, ...payload.traces.map(trace => trace.tokens));
  payload.traces.forEach((trace, position) => {
    const row = make("button", "trace is-" + trace.status);
    row.type = "button";
    const fate = trace.status === "finished" ? (trace.finish_reason === "length" ? "finished (cap)" : "finished")
      : trace.status === "pruned" ? "pruned" + (trace.prune_reason ? ", " + trace.prune_reason : "") : "speculative, never asked for";
    const track = make("span", "track"), before = make("i", "in-prefix"), after = make("i", "beyond");
    track.style.width = 100 * trace.tokens / longest + "%";
    before.style.width = 100 * trace.prefix / Math.max(1, trace.tokens) + "%";
    after.style.flex = "1";
    track.append(before, after);
    const bar = make("span");
    bar.append(track);
    const judged = trace.correct === null ? "" : trace.correct ? "right" : "wrong";
    row.append(make("span", "", "#" + trace.trace_index), make("span", trace.status, fate),
      make("span", judged, trace.answer ?? "–"), make("span", "", trace.cluster_index === null ? "" : "cluster " + trace.cluster_index),
      bar, make("span", "number", count(trace.tokens) + " tok"));
    row.addEventListener("click", () => open(row, problem, payload, trace, position));
    list.append(row);
  });
  if (!payload.traces.length) list.append(make("p", "empty", "No trace was started."));
}

function open(row, problem, payload, trace, position) {
  if (row.nextSibling?.classList?.contains("text")) { row.nextSibling.remove(); return; }
  const box = make("div", "text");
  row.after(box);
  const said = [`${count(trace.tokens)} tokens in ${trace.segments.length || "?"} ${trace.segments.length === 1 ? "segment" : "segments"}, ${count(trace.prefix)} before the method could decide`];
  if (trace.is_voter) said.push("voted");
  box.append(make("div", "sub", said.join("; ") + "."));
  probes(box, payload, trace);
  verdicts(box, payload, trace);
  if (!payload.has_text) {
    box.append(make("p", "sub", data.without_text[problem.run]
      ? "Its text was left out, since the limit of all texts was reached: make the report of this run alone, or raise --max-mb."
      : "It has no text: none was recorded."));
    return;
  }
  const chunk = Math.floor(position / payload.texts_a_file);
  load(`${problem.run}/${problem.problem_index}.${chunk}`, texts => text(box, texts[position % payload.texts_a_file]),
    () => box.append(make("p", "sub", "Its text is not there.")));
}

function probes(box, payload, trace) {
  const mine = payload.probes.filter(probe => probe[0] === trace.trace_index);
  if (!mine.length) return;
  const all = make("div", "verdicts");
  all.append(make("span", "sub", "Asked for its answer:"));
  for (const [, tokens, answer] of mine) all.append(make("span", "verdict", `after ${count(tokens)}: ${answer ?? "unreadable"}`));
  box.append(all);
}

function verdicts(box, payload, trace) {
  const mine = payload.verdicts.filter(verdict => verdict[0] === trace.trace_index || verdict[1] === trace.trace_index);
  if (!mine.length) return;
  const all = make("div", "verdicts");
  all.append(make("span", "sub", "P(same answer) with:"));
  for (const [left, right, score] of mine.slice(0, 200)) {
    const other = left === trace.trace_index ? right : left;
    all.append(make("span", "verdict " + (score === null ? "" : score > 0.5 ? "same" : "different"),
      `#${other} ${score === null ? "unreadable" : score.toFixed(2)}`));
  }
  if (mine.length > 200) all.append(make("span", "sub", `and ${mine.length - 200} more`));
  box.append(all);
}

function text(box, found) {
  // Characters are code points, as where the prefix was cut; JavaScript's own positions count some of them twice.
  const place = make("pre"), prefix = found.prefix_chars ?? 0, head = [...found.head];
  if (prefix > 0) place.append(make("mark", "", head.slice(0, prefix).join("")));
  place.append(document.createTextNode(head.slice(prefix).join("")));
  const left = found.chars - head.length - [...found.tail].length;
  if (left > 0) place.append(make("span", "cut", `\n[… ${count(left)} of ${count(found.chars)} characters are not shown …]\n`));
  place.append(document.createTextNode(found.tail));
  if (!found.chars) place.append("(empty)");
  box.append(place);
}

for (const column of columns) {
  const head = make("th", (column.kind === "number" ? "number" : "") + (column.extra ? " extra" : ""), column.name);
  head.addEventListener("click", () => {
    state.down = state.sort === column ? !state.down : column.kind === "number";
    state.sort = column;
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    draw();
  });
  at("table").tHead.rows[0].append(head);
}
data.runs.forEach((name, i) => option("run", i, name));
at("run").hidden = data.runs.length < 2;
at("cut").parentNode.hidden = !problems.some(p => p.traces_cut > 0);
at("tied").parentNode.hidden = !problems.some(p => p.votes_tied > 1);
if (data.runs.length > 1) at("run").value = data.focus;
[...new Set(problems.map(p => p.outcome))].sort().forEach(outcome => option("outcome", outcome, outcome));
for (const id of ["search", "run", "outcome", "narrow", "cut", "tied"]) at(id).addEventListener("input", () => { state.shown = step; draw(); });
at("more").addEventListener("click", () => { state.shown += step; draw(); });
draw();
